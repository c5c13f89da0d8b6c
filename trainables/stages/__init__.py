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

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from trainables.canonical import canonical, keyed, with_later_ones_neutral
from trainables.config import Config
from trainables.data import MODULES, About, module_of
from trainables.own_parts import is_reference
from trainables.sections import Section
from trainables.source import own_files, reached, source_hash
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
    config, codes = with_later_ones_neutral(config), dict[str, str]()
    for stage in needed(config):
        source = _source_of(config, about, stage.NAME)
        own = [source_hash(source), *(codes[name] for name in stage.needs(config))]
        codes[stage.NAME] = accepted.get(stage.NAME, hashed(own)[:CODE_DIGITS])
    settings = _settings_of(config, about)
    return {name: f"{key}-{codes[name]}" if codes[name] else key for name, key in settings.items()}


def settings_keys(config: Config, about: About) -> dict[str, str]:
    """The part of each stage's key that settings and data determine, in the order in which they run."""
    return _settings_of(with_later_ones_neutral(config), about)


def _settings_of(config: Config, about: About) -> dict[str, str]:
    keys: dict[str, str] = {}
    for stage in needed(config):
        before = {name: keys[name] for name in stage.needs(config)}
        keys[stage.NAME] = hashed([stage.NAME, stage.FORMAT, keyed(stage.determined_by(config, about, before))])
    return keys


def twin_keys(config: Config, about: About) -> dict[str, str]:
    """The same of what can act in the config: equal for two that can only give the same."""
    return settings_keys(canonical(config), about)


def code_of(key: str) -> str:
    """The part of a stage's key that its code determines; "" for one of before code was recorded."""
    return key.partition("-")[2]


def stage_source(config: Config, about: About, stage: str) -> Mapping[str, str]:
    """The definitions that compute the stage of this trial, and a digest of each, by dotted name."""
    return _source_of(with_later_ones_neutral(config), about, stage)


def _source_of(config: Config, about: About, stage: str) -> Mapping[str, str]:
    others = {other.NAME for other in STAGES} - {stage, *BY_NAME[stage].needs(config)}
    words = _words(config, about, stage)
    own = hashed(own_files(filter(is_reference, words)))  # in a notebook they may change
    return _source(stage, config.data.dataset, words, frozenset(others), own)


@cache
def _source(stage: str, dataset: str, words: frozenset[str], others: frozenset[str], own: str) -> Mapping[str, str]:
    # What another stage offers is not called where this one does not need it.
    without = frozenset(f"{__name__}.{other}" for other in others)
    roots = [f"{__name__}.{stage}.make", f"{module_of(dataset)}.read", *filter(is_reference, sorted(words))]
    return reached(roots, words, without)


def _words(config: Config, about: About, stage: str) -> frozenset[str]:
    """The texts among the settings that the stage and those that it needs depend on, later ones at rest too."""
    needs = BY_NAME[stage].needs(config)
    own = _texts(BY_NAME[stage].determined_by(config, about, dict.fromkeys(needs, "")))
    return frozenset(own).union(*(_words(config, about, name) for name in needs))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Section):
        yield from _texts(value.model_dump())
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


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
