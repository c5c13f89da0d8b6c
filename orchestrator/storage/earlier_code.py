"""Artefacts that other code made from the same settings: what has changed since, and how they are taken as they are."""

from __future__ import annotations

from collections import Counter, defaultdict
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
        self._begun: dict[str, defaultdict[str, list[str]]] = {}  # by stage and settings: one listing a stage
        self._keys: dict[Config, dict[str, str]] = {}

    def keys(self, config: Config) -> dict[str, str]:
        """The keys of the trial's stages, where what is not there of today's code is taken of the newest other code.

        The answer is the same however often it is asked for: what a session makes changes nothing for itself.
        """
        if config not in self._keys:
            accepted: dict[str, str] = {}
            settings = settings_keys(config, self.about)
            for stage in needed(config):
                key = stage_keys(config, self.about, accepted)[stage.NAME]
                others = self._others(stage.NAME, settings[stage.NAME], key)
                if others and not self.store.has(stage.NAME, key):
                    accepted[stage.NAME] = code_of(self._newest(stage.NAME, others))
            self._keys[config] = stage_keys(config, self.about, accepted)
        return self._keys[config]

    def changed(self, config: Config, stage: str, key: str) -> list[str]:
        """The files that have changed since the artefact was made, by their paths; `UNRECORDED` alone if unknown."""
        then, now = self._facts(stage, key).get("source"), stage_source(config, self.about, stage)
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
            settings = settings_keys(config, self.about)
            for stage, key in keys.items():
                if (stage, key) in seen:
                    continue
                seen.add((stage, key))
                others = self._others(stage, settings[stage], key)
                if not others or self.store.has(stage, key):
                    continue
                if paths := self.changed(config, stage, self._newest(stage, others)):  # none: it follows
                    counts[stage, tuple(paths)] += 1
        for (stage, files), count in counts.items():
            since = "code was part of a key" if UNRECORDED in files else f"{', '.join(files)} changed"
            what = f"{count} stored {'result' if count == 1 else 'results'} of {BY_NAME[stage].LABEL}"
            yield f"{what} made before {since}: not used, made again (--accept-code takes such results as they are)"

    def _others(self, stage: str, settings: str, key: str) -> list[str]:
        """The keys of published artefacts of the same settings and of other code."""
        if stage not in self._begun:
            self._begun[stage] = defaultdict(list)
            for name in self.store.begun(stage):
                self._begun[stage][name.partition("-")[0]].append(name)
        return [name for name in self._begun[stage].get(settings, ()) if name != key and self.store.has(stage, name)]

    def _newest(self, stage: str, keys: Iterable[str]) -> str:
        return max(keys, key=partial(self._made, stage))

    def _made(self, stage: str, key: str) -> float:
        return float(self._facts(stage, key).get("made", 0.0))

    def _facts(self, stage: str, key: str) -> dict[str, Any]:
        facts: dict[str, Any] = self.store.manifest(stage, key)["facts"]
        return facts
