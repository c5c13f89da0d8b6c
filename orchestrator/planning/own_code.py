"""The code of a person's own that a study runs, as it was when the study was planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trainables.config import Config, references
from trainables.source import reached, source_hash


@dataclass(frozen=True)
class OwnCode:
    """What is sent to the nodes, and what they must find in it.

    Args:
        parts: that the settings name.
        files: the texts of all files of the person's own that these import, by path.
        source: a hash over all that the parts reach, the versions of installed packages too.
    """

    parts: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    source: str = source_hash({})


NO_CODE = OwnCode()


def own_code(trials: Iterable[tuple[Config, Mapping[str, str]]]) -> OwnCode:
    """The code of a study.

    Args:
        trials: the config of each, and the files that it is sent.
    """
    known = list(trials)
    parts = sorted({part for config, _ in known for part in references(config).values()})
    files = {path: text for _, sent in known for path, text in sent.items()}
    return OwnCode(tuple(parts), files, source_hash(reached(parts, frozenset())))
