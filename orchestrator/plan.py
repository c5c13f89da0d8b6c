"""The plan of a study: variants x seeds and the controls -> the list of its trials. Imports no torch and no Ray."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UsageError
from search_spaces.ablations import CONTROLS
from search_spaces.presets import PRESETS
from trainables.config import Config, ConfigError, Overrides, apply, flatten
from trainables.cost import parameters, stage_flops
from trainables.data import About, about
from trainables.stages import stage_keys, trial_key
from trainables.store import hashed

BASELINE = "baseline"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
NAME_RULE = "at most 80 letters, digits, '_', '-' and '.', a letter or digit first"

CONTROL_MEANING = {
    "untrained": "the baseline's U-Net before training",
    "real_images": "held-out real images",
    "raw_pixels": "pixel values in place of features",
}


@dataclass(frozen=True)
class Trial:
    """One (variant, seed): one Ray Tune trial, one GPU or a share of it, one MLflow run."""

    variant: str
    kind: str  # "variant" or "control"
    position: int  # of the variant in the study
    delta: str
    config: Config
    key: str
    stages: Mapping[str, str]  # name -> key
    flops: Mapping[str, float]  # by stage
    parameters: int | None  # None where there is no U-Net

    @property
    def name(self) -> str:
        """The trial's name in Ray, in MLflow and on the screen."""
        return f"{self.variant}-seed{self.config.seed}"


@dataclass(frozen=True)
class Study:
    """What one command runs: trials over one baseline."""

    name: str
    preset: str
    baseline: Config
    about: About
    trials: tuple[Trial, ...]


def build(
    preset: str,
    seeds: Sequence[int],
    settings: Overrides,
    variants: Mapping[str, Overrides],
    chosen: Sequence[str] | None = None,
    name: str | None = None,
) -> Study:
    """The study of `chosen` (by default all) of `variants` over the preset with `settings`; the baseline is always in.

    Raises:
        UsageError: an unknown preset or variant, a setting that cannot be, a variant that changes nothing.
    """
    try:
        baseline = apply(_preset(preset), settings)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    facts = about(baseline.data)
    names = [BASELINE, *(n for n in _known(chosen, variants) if n != BASELINE)]
    controls = {n: d for n, d in CONTROLS.items() if set(d.get("stages", baseline.stages)) <= set(baseline.stages)}
    deltas = {n: variants[n] for n in names} | controls
    configs = {n: _varied(n, baseline, delta, facts) for n, delta in deltas.items()}
    _distinct(names, configs)
    trials = [
        _trial(n, position, deltas[n], apply(configs[n], {"seed": seed}), facts)
        for seed in _seeds(seeds)
        for position, n in enumerate(deltas)
    ]
    # What differs by --set is another study: their figures must not meet in one table.
    identity = hashed([flatten(apply(baseline, {"seed": 0})), facts.fingerprint])[:6]
    return Study(name or f"{preset}-{identity}", preset, baseline, facts, tuple(trials))


def parse_settings(texts: Iterable[str], what: str = "--set") -> dict[str, Any]:
    """Overrides from texts such as `unet.base_channels=48`; the values are read as YAML.

    Raises:
        UsageError: a text without a name or a value.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        setting, equals, value = text.partition("=")
        setting = setting.strip()
        if not equals or not setting or not value.strip():
            raise UsageError(f"{what}: must be setting=value, for example unet.base_channels=48, but got {text!r}")
        if setting in settings:
            raise UsageError(f"{what}: {setting} is given twice")
        if setting == "seed":
            raise UsageError(f"{what}: the seed is given by --seeds")
        settings[setting] = _yaml(value, f"{what} {setting}")
    return settings


def parse_variant(text: str) -> tuple[str, dict[str, Any]]:
    """Name and overrides from `wide: unet.base_channels=96, training.learning_rate=1e-4`.

    Raises:
        UsageError: a text of another form.
    """
    name, colon, rest = text.partition(":")
    if not colon or not rest.strip():
        raise UsageError(f"--variant: must be 'name: setting=value, ...', but got {text!r}")
    # Commas inside brackets belong to a value: segmentation.blocks=[6, 7].
    parts = re.split(r",(?![^\[(]*[\])])", rest)
    return name.strip(), parse_settings((p for p in parts if p.strip()), f"--variant {name.strip()}")


def read_variants(path: Path) -> dict[str, dict[str, Any]]:
    """Variants from a YAML file: `name: {setting: value, ...}`, one a line.

    Raises:
        UsageError: the file is not there, or is of another form.
    """
    try:
        content = _yaml(path.read_text(encoding="utf-8"), f"--variants-file {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--variants-file {path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    if not isinstance(content, dict) or not all(_is_delta(*pair) for pair in content.items()):
        raise UsageError(f"--variants-file {path}: must map each variant's name to its settings, {{setting: value}}")
    return content


def _is_delta(name: object, delta: object) -> bool:
    return isinstance(name, str) and isinstance(delta, dict) and all(isinstance(setting, str) for setting in delta)


def with_new(variants: Mapping[str, Overrides], new: Iterable[tuple[str, Overrides]]) -> dict[str, Overrides]:
    """The variants with `new` ones added.

    Raises:
        UsageError: a name that is taken or that cannot be a file's.
    """
    known = dict(variants)
    for name, delta in new:
        if not NAME.fullmatch(name):
            raise UsageError(f"variant {name!r}: the name must be {NAME_RULE}")
        if "seed" in delta:
            raise UsageError(f"variant {name}: the seed is given by --seeds")
        if name in known or name in CONTROLS:
            raise UsageError(f"variant {name!r}: the name is taken; choose another")
        known[name] = delta
    return known


def described(delta: Overrides) -> str:
    """A delta as a person writes it: `unet.block=convnext`."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in delta.items()) or "-"


def _preset(name: str) -> Config:
    if name not in PRESETS:
        raise UsageError(f"--preset: unknown preset {name!r}; allowed: {', '.join(PRESETS)}")
    return PRESETS[name]()


def _known(chosen: Sequence[str] | None, variants: Mapping[str, Overrides]) -> list[str]:
    for name in chosen or ():
        if name not in variants:
            raise UsageError(f"--variants: unknown variant {name!r}; allowed: {', '.join(variants)}")
    return list(dict.fromkeys(chosen)) if chosen else list(variants)


def _seeds(seeds: Sequence[int]) -> list[int]:
    for seed in seeds:
        if seed < 0:
            raise UsageError(f"--seeds: must be 0 or more, but got {seed}")
    return list(dict.fromkeys(seeds))


def _varied(name: str, baseline: Config, delta: Overrides, facts: About) -> Config:
    try:
        config = apply(baseline, delta)
        if about(config.data) != facts:
            raise ConfigError("a variant cannot change the dataset: its figures would not compare with the baseline's")
        _fits(config, facts)
    except ConfigError as error:
        raise UsageError(str(error) if name == BASELINE else f"variant {name}: {error}") from None
    return config


def _fits(config: Config, facts: About) -> None:
    """Checks what only the dataset can tell."""
    segmentation, sampling = config.segmentation, config.sampling
    dataset = config.data.dataset
    if segmentation.label_images > facts.label_images:
        raise ConfigError(
            f"segmentation.label_images must be at most {facts.label_images}, the labelled split of {dataset}, "
            f"but got {segmentation.label_images}"
        )
    if sampling.source == "held_out" and sampling.samples > facts.held_out_images:
        raise ConfigError(
            f"sampling.samples must be at most {facts.held_out_images}, the held-out images of {dataset}, "
            f"but got {sampling.samples}"
        )
    if "fid_digits" in config.fid.metrics and facts.image_channels != 1:
        raise ConfigError(
            f"fid.metrics: fid_digits is for grey images, and {dataset} has {facts.image_channels} channels"
        )


def _distinct(names: Sequence[str], configs: Mapping[str, Config]) -> None:
    seen: dict[Config, str] = {}
    for name in names:
        twin = seen.setdefault(configs[name], name)
        if twin == BASELINE != name:
            raise UsageError(f"variant {name}: changes nothing, the baseline is already so")
        if twin != name:
            raise UsageError(f"variant {name}: is the same as variant {twin}")


def _trial(name: str, position: int, delta: Overrides, config: Config, facts: About) -> Trial:
    control, stages = name in CONTROLS, stage_keys(config, facts)
    return Trial(
        variant=name,
        kind="control" if control else "variant",
        position=position,
        delta=CONTROL_MEANING[name] if control else described(delta),
        config=config,
        key=trial_key(config, facts),
        stages=stages,
        flops=stage_flops(config, facts),
        parameters=parameters(config, facts) if "ddpm" in stages else None,
    )


def _plain(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise UsageError(f"{where}: not valid YAML: nested too deeply") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """Plain YAML that refuses a key given twice, of which it would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} is given twice")
        return super().construct_mapping(node, deep)
