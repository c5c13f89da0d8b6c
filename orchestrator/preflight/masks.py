"""Whether the masks that a trial will choose can be trained and scored on: a void mask tells nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import UsageError
from orchestrator.planning.names import BASELINE
from orchestrator.planning.plan import Study
from trainables.config import Config
from trainables.data import About, Arrays
from trainables.sections import Data

Counts = NDArray[np.int64]


def check_masks(study: Study, read: Callable[[Data], Arrays]) -> None:
    """Passes if every trial that segments has pixels enough to train on, and one to score.

    Args:
        read: gives the images and masks at the size that a config asks for.

    Raises:
        UsageError: a trial that has not, and what is allowed.
    """
    void = {study.about.ignore_index}
    counts: dict[Data, tuple[Counts, Counts]] = {}
    for name, config in _configs(study):
        if config.data not in counts:
            arrays = read(config.data)
            # A pixel of an unscored class, a background for instance, is trained on all the same.
            scored = _known(arrays.held_out_masks, void | set(study.about.unscored_classes))
            counts[config.data] = _known(arrays.label_masks, void), scored
        labels, held_out = counts[config.data]
        _check_labels(name, config, labels)
        _check_scored(name, config, held_out, study.about)


def _configs(study: Study) -> Iterator[tuple[str, Config]]:
    """Those that segment, by trial; a search has no trials yet, and begins with its baseline."""
    named = [(trial.name, trial.config) for trial in study.trials] or [(BASELINE, study.baseline)]
    return ((name, config) for name, config in named if "segmentation" in config.stages)


def _known(masks: NDArray[np.uint8], void: set[int]) -> Counts:
    """The pixels of each mask that are not void, (N,)."""
    counts: Counts = (~np.isin(masks, list(void))).reshape(len(masks), -1).sum(1)
    return counts


def _check_labels(name: str, config: Config, known: Counts) -> None:
    wanted, by_image = config.segmentation, config.segmentation.pixel_order == "by_image"
    fewest = np.sort(known)[: wanted.label_images]
    if (fewest.max() if by_image else fewest.sum()) >= wanted.batch_size:
        return  # whatever is chosen
    chosen = known[_labelled(config, len(known))]
    most, of = (chosen.max(), "an image of these") if by_image else (chosen.sum(), "these")
    if most < wanted.batch_size:
        raise UsageError(
            f"{name}: the masks of its {len(chosen)} labelled images: segmentation.batch_size must be at most "
            f"{most}, the pixels of {of} that are not void, but got {wanted.batch_size}"
        )


def _check_scored(name: str, config: Config, known: Counts, about: About) -> None:
    if known.all():
        return
    from trainables.evaluation.chosen_images import scored  # only now: it imports torch

    chosen = scored(len(known), config.segmentation).numpy()
    if not known[chosen].any():
        raise UsageError(
            f"{name}: the masks of its {len(chosen)} held-out images have no pixel to score: all are void "
            f"({about.ignore_index}) or of classes that are not scored"
        )


def _labelled(config: Config, images: int) -> Counts:
    from trainables.evaluation.chosen_images import labelled  # only now: it imports torch

    chosen: Counts = labelled(images, config.segmentation, config.seed)[0].numpy()
    return chosen
