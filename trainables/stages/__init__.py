r"""The stages of a trial, one module each. A new one is a module as `stage.Stage` says, and its name below.

    ddpm ------> samples ----> fid
        \        reference --/
         \----> segmentation

A key has two parts, SETTINGS-CODE. The first is a hash of the stage's name, the settings that it reads, its data's
fingerprint and the first parts of the stages before it: a changed default that a stage does not read invalidates
nothing. The second is a hash of the source that its code reaches, and of the second parts of the stages before it: an
edit remakes what it computes and what follows from that. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from trainables.config import Config, flatten
from trainables.data import MODULES, About
from trainables.source import reached, source_hash
from trainables.stages import ddpm, fid, reference, samples, segmentation
from trainables.stages.stage import Stage
from trainables.store import hashed

STAGES: tuple[Stage, ...] = (ddpm, samples, reference, fid, segmentation)  # in the order in which they run
CODE_DIGITS = 10
NONE: Mapping[str, str] = MappingProxyType({})
BY_NAME = {stage.NAME: stage for stage in STAGES}


def needed(config: Config) -> list[Stage]:
    """The stages of the trial, in the order in which they run: those that are asked for, and what they need."""
    names: set[str] = set()
    wanted = list[str](config.stages)
    while wanted:
        name = wanted.pop()
        names.add(name)
        wanted += BY_NAME[name].needs(config)
    return [stage for stage in STAGES if stage.NAME in names]


def stage_keys(config: Config, about: About, accepted: Mapping[str, str] = NONE) -> dict[str, str]:
    """The key of each stage that the trial needs, in the order in which they run.

    Args:
        accepted: the code of stages whose output is taken as it is, by name; "" for one of before code was recorded.
    """
    codes: dict[str, str] = {}
    for stage in needed(config):
        own = [source_hash(stage_source(config, stage.NAME)), *(codes[name] for name in stage.needs(config))]
        codes[stage.NAME] = accepted.get(stage.NAME, hashed(own)[:CODE_DIGITS])
    settings = settings_keys(config, about)
    return {name: f"{key}-{codes[name]}" if codes[name] else key for name, key in settings.items()}


def settings_keys(config: Config, about: About) -> dict[str, str]:
    """The part of each stage's key that settings and data determine, in the order in which they run."""
    keys: dict[str, str] = {}
    for stage in needed(config):
        before = {name: keys[name] for name in stage.needs(config)}
        keys[stage.NAME] = hashed([stage.NAME, stage.FORMAT, _plain(stage.determined_by(config, about, before))])
    return keys


def code_of(key: str) -> str:
    """The part of a stage's key that its code determines; "" for one of before code was recorded."""
    return key.partition("-")[2]


def stage_source(config: Config, stage: str) -> Mapping[str, str]:
    """The definitions that compute the stage of this trial, and a digest of each, by dotted name."""
    parts = [value for name, value in flatten(config).items() if name != "stages"]  # which names no part
    words = {word for value in parts for word in (value if isinstance(value, tuple) else (value,))}
    return _source(stage, config.data.dataset, frozenset(word for word in words if isinstance(word, str)))


@cache
def _source(stage: str, dataset: str, words: frozenset[str]) -> Mapping[str, str]:
    return reached([f"{__name__}.{stage}.make", f"{MODULES[dataset]}.read"], words)


@cache
def whole_code() -> str:
    """A hash of all source that any stage with any settings may reach: what two tables must share to be of one code."""
    roots = [*(f"{__name__}.{stage.NAME}.make" for stage in STAGES), *(f"{module}.read" for module in MODULES.values())]
    return source_hash(reached(roots, frozenset()))


def trial_key(keys: Mapping[str, str]) -> str:
    """The key of the whole trial: of all that its figures depend on.

    Args:
        keys: of its stages.
    """
    return hashed(dict(keys))


def stage_flops(config: Config, about: About) -> dict[str, float]:
    """Floating-point operations of each stage that the trial needs; a backward pass counts as two forwards."""
    return {stage.NAME: stage.flops(config, about) for stage in needed(config)}


def _plain(parts: list[object]) -> list[object]:
    return [part.model_dump() if hasattr(part, "model_dump") else part for part in parts]
