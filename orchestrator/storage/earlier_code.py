"""Artefacts that other code made from the same settings: what has changed since, and how they are taken as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from trainables.config import Config
from trainables.data import About
from trainables.source import file_of
from trainables.stages import BY_NAME, code_of, needed, settings_keys, stage_keys, stage_source
from trainables.store import Store

UNRECORDED = ""  # what has changed, of an artefact of before code was recorded


class EarlierCode:
    """What a store holds of other code than today's.

    Args:
        about: the facts of the study's data.
    """

    def __init__(self, store: Store, about: About) -> None:
        self.store, self.about = store, about
        self._begun: dict[str, list[str]] = {}  # one listing a stage

    def keys(self, config: Config) -> dict[str, str]:
        """The keys of the trial's stages, where what is not there of today's code is taken of the newest other code."""
        accepted: dict[str, str] = {}
        for stage in needed(config):
            key = stage_keys(config, self.about, accepted)[stage.NAME]
            if not self.store.has(stage.NAME, key) and (others := self._others(config, stage.NAME)):
                accepted[stage.NAME] = code_of(max(others, key=partial(self._made, stage.NAME)))
        return stage_keys(config, self.about, accepted)

    def changed(self, config: Config, stage: str, key: str) -> list[str]:
        """The files that have changed since the artefact was made, by their paths; `UNRECORDED` alone if unknown."""
        then, now = self._facts(stage, key).get("source"), stage_source(config, stage)
        if then is None:
            return [UNRECORDED]
        names = {name for name in {**then, **now} if then.get(name) != now.get(name)}
        return sorted({file_of(name) for name in names})

    def told(self, trials: Iterable[tuple[Config, Mapping[str, str]]]) -> Iterator[str]:
        """A line for each change that makes stages run again, with how many.

        Args:
            trials: their configs and the keys of their stages.
        """
        counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        seen = set[tuple[str, str]]()
        for config, keys in trials:
            for stage, key in keys.items():
                if (stage, key) in seen or self.store.has(stage, key) or not (others := self._others(config, stage)):
                    continue
                seen.add((stage, key))
                newest = max(others, key=partial(self._made, stage))
                if paths := self.changed(config, stage, newest):  # else it only follows from one that has changed
                    counts[stage, tuple(paths)] += 1
        for (stage, files), count in counts.items():
            since = "code was part of a key" if UNRECORDED in files else f"{', '.join(files)} changed"
            what = f"{count} stored {'result' if count == 1 else 'results'} of {BY_NAME[stage].LABEL}"
            yield f"{what} made before {since}: not used, made again (--accept-code takes such results as they are)"

    def _others(self, config: Config, stage: str) -> list[str]:
        """The keys of published artefacts of the same settings."""
        settings = settings_keys(config, self.about)[stage]
        if stage not in self._begun:
            self._begun[stage] = self.store.begun(stage)
        return [k for k in self._begun[stage] if k.partition("-")[0] == settings and self.store.has(stage, k)]

    def _made(self, stage: str, key: str) -> float:
        return float(self._facts(stage, key).get("made", 0.0))

    def _facts(self, stage: str, key: str) -> dict[str, Any]:
        facts: dict[str, Any] = self.store.manifest(stage, key)["facts"]
        return facts
