"""The studies that there are: what each varies, over which presets, between which controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from search_spaces import ablations, presets, segmentation
from trainables.config import Config, Overrides


@dataclass(frozen=True)
class Space:
    """What one command of the command line can run.

    Args:
        name: the command's.
        presets: functions that return the baseline.
        variants: preset -> variant -> delta; "baseline" is among them.
        controls: the baseline -> control -> delta.
        suites: suite -> variant -> delta, in place of a preset's variants; "baseline" is among them.
        published: preset -> metric -> variant -> the figure that the report prints.
    """

    name: str
    presets: Mapping[str, Callable[[], Config]]
    variants: Mapping[str, Mapping[str, Overrides]]
    controls: Callable[[Config], Mapping[str, Overrides]]
    published: Mapping[str, Mapping[str, Mapping[str, float]]]
    suites: Mapping[str, Mapping[str, Overrides]] = field(default_factory=dict)


ABLATIONS = Space(
    name="ablations",
    presets=presets.ABLATIONS,
    variants=dict.fromkeys(presets.ABLATIONS, ablations.VARIANTS),
    controls=lambda baseline: ablations.CONTROLS,
    published={"paper": {"fid": ablations.PUBLISHED_FID}},
    suites=ablations.SUITES,
)
SEGMENTATION = Space(
    name="segmentation",
    presets=presets.SEGMENTATION,
    variants=segmentation.CONFIGURATIONS,
    controls=segmentation.controls,
    published={},
)
SPACES = {space.name: space for space in (ABLATIONS, SEGMENTATION)}
