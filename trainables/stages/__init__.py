r"""The stages of a trial, one module each. A new one is a module as `stage.Stage` says, and its name below.

    ddpm ------> samples ----> fid
        \        reference --/
         \----> segmentation

A key covers the stage's name and version, the settings that it reads, its data's fingerprint and the keys of the
stages before it. So a changed default that a stage does not read invalidates nothing. Imports no torch.
"""

from __future__ import annotations

from trainables.config import Config
from trainables.data import About
from trainables.stages import ddpm, fid, reference, samples, segmentation
from trainables.stages.stage import Stage
from trainables.store import hashed

STAGES: tuple[Stage, ...] = (ddpm, samples, reference, fid, segmentation)  # in the order in which they run
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


def stage_keys(config: Config, about: About) -> dict[str, str]:
    """The key of each stage that the trial needs, in the order in which they run."""
    keys: dict[str, str] = {}
    for stage in needed(config):
        before = {name: keys[name] for name in stage.needs(config)}
        keys[stage.NAME] = hashed([stage.NAME, stage.VERSION, _plain(stage.determined_by(config, about, before))])
    return keys


def trial_key(config: Config, about: About) -> str:
    """The key of the whole trial: of all that its figures depend on."""
    return hashed(stage_keys(config, about))


def stage_flops(config: Config, about: About) -> dict[str, float]:
    """Floating-point operations of each stage that the trial needs; a backward pass counts as two forwards."""
    return {stage.NAME: stage.flops(config, about) for stage in needed(config)}


def _plain(parts: list[object]) -> list[object]:
    return [part.model_dump() if hasattr(part, "model_dump") else part for part in parts]
