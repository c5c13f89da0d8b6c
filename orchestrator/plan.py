"""The plan of a study: variants x seeds, the controls and the heat map -> its trials. Imports no torch and no Ray."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UsageError
from search_spaces.ablations import CONTROLS
from search_spaces.segmentation import HEAT_MAP_TIMESTEPS, probes
from search_spaces.spaces import Space
from trainables.config import Config, ConfigError, Overrides, apply, flatten
from trainables.cost import network_cost, stage_flops
from trainables.data import About, DataError, about
from trainables.inputs import NOWHERE, Inputs
from trainables.stages import stage_keys, trial_key
from trainables.store import hashed

BASELINE = "baseline"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
PROBE = re.compile(r"block\d+-t\d+")  # a cell of the heat map
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
    kind: str  # "variant", "control" or "probe": a cell of the heat map
    position: int  # of the variant in the study
    delta: str
    config: Config
    key: str
    stages: Mapping[str, str]  # name -> key
    flops: Mapping[str, float]  # by stage
    parameters: int | None  # None where there is no U-Net
    published: Mapping[str, float] = field(default_factory=dict)  # metric -> the report's figure

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
    inputs: Inputs = NOWHERE
    left_out: tuple[str, ...] = ()  # variants that nobody asked for by name and that this baseline makes void
    objective: str = ""  # what a search maximises
    generation: int = 0  # times that it was begun anew


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Args:
        space: what can be asked for.
        preset: the baseline to start from.
        seeds: one training of each variant a seed.
        settings: changes of the baseline, and with it of every variant.
        new: variants of the person's own.
        chosen: the variants to run; None for all. The baseline is always in.
        name: of the study; None for one made from the preset and the settings.
        heat_map: timesteps at which each block is tried alone; () for no heat map, None for the usual ones.
        inputs: where this machine's data and checkpoint are.
    """

    space: Space
    preset: str = "quick"
    seeds: Sequence[int] = (0,)
    settings: Overrides = field(default_factory=dict)
    new: Sequence[tuple[str, Overrides]] = ()
    chosen: Sequence[str] | None = None
    name: str | None = None
    heat_map: Sequence[int] | None = ()
    inputs: Inputs = NOWHERE


def baseline(request: Request) -> Config:
    """The config that the study's variants are changes of.

    Raises:
        UsageError: an unknown preset, or a setting that cannot be.
    """
    try:
        return apply(_preset(request.space, request.preset), request.settings)
    except ConfigError as error:
        raise UsageError(str(error)) from None


@dataclass(frozen=True)
class Draft:
    """What a request means before its data are looked at: the configs, by variant, control and cell of the heat map."""

    baseline: Config
    kinds: Mapping[str, str]
    deltas: Mapping[str, Overrides]
    configs: Mapping[str, Config]
    left_out: tuple[str, ...]  # of the variants that nobody asked for by name, those that cannot be, and why
    asked: frozenset[str]


def draft(request: Request) -> Draft:
    """The request's configs.

    Raises:
        UsageError: an unknown preset or variant, a setting that cannot be, or a variant that is asked for by name and
            cannot be or changes nothing.
    """
    base = baseline(request)
    variants = with_new(request.space.variants[request.preset], request.new)
    asked = {*(request.chosen or ()), *(name for name, _ in request.new), BASELINE}
    names, left_out = [BASELINE], list[str]()
    for name in _known(request, variants):
        try:
            _distinct([*names, name], {n: _varied(n, base, variants[n]) for n in (*names, name)})
        except UsageError as error:
            if name in asked:
                raise
            left_out.append(str(error))
        else:
            names += [name] if name != BASELINE else []
    possible = request.space.controls(base)
    controls = {n: d for n, d in possible.items() if set(d.get("stages", base.stages)) <= set(base.stages)}
    cells = probes(base, _heat_map(request, base))
    deltas = {n: variants[n] for n in names} | controls | cells
    kinds = dict.fromkeys(names, "variant") | dict.fromkeys(controls, "control") | dict.fromkeys(cells, "probe")
    configs = {n: _varied(n, base, delta) for n, delta in deltas.items()}
    return Draft(base, kinds, deltas, configs, tuple(left_out), frozenset(asked))


def _heat_map(request: Request, base: Config) -> list[int]:
    last = base.diffusion.timesteps - 1
    if request.heat_map is None:
        return [t for t in HEAT_MAP_TIMESTEPS if t <= last]
    for t in request.heat_map:
        if not 0 <= t <= last:
            raise UsageError(f"--heat-map: must be timesteps from 0 to {last}, but got {t}")
    return list(request.heat_map)


def build(request: Request) -> Study:
    """The study that is asked for.

    Raises:
        UsageError: as `draft`; data that are not there, or that a config does not fit.
    """
    plan = draft(request)
    base, root = plan.baseline, request.inputs.data_root
    left_out, names, seen = list(plan.left_out), list[str](), dict[frozenset[tuple[str, str]], str]()
    try:
        facts = about(base.data, root)
        for name, config in plan.configs.items():
            try:
                _check_fit(name, config, facts, facts if config.data == base.data else about(config.data, root))
                if plan.kinds[name] == "variant":
                    _check_used(name, stage_keys(config, facts), seen)
            except UsageError as error:
                if plan.kinds[name] != "variant" or name in plan.asked:
                    raise
                left_out.append(str(error))
            else:
                names.append(name)
    except DataError as error:
        raise UsageError(str(error)) from None
    trials = [
        _trial(n, plan.kinds[n], position, plan.deltas[n], apply(plan.configs[n], {"seed": seed}), facts)
        for seed in _seeds(request.seeds)
        for position, n in enumerate(names)
    ]
    if not request.settings:  # with another baseline the report's figures would not compare
        trials = [replace(trial, published=_published(request, trial.variant)) for trial in trials]
    # What differs by --set is another study: their figures must not meet in one table.
    identity = hashed([flatten(apply(base, {"seed": 0})), facts.fingerprint])[:6]
    prefix = request.preset if request.space.name == "ablations" else f"{request.space.name}-{request.preset}"
    name = request.name or f"{prefix}-{identity}"
    return Study(name, request.preset, base, facts, tuple(trials), request.inputs, tuple(left_out))


def search(request: Request, objective: str) -> Study:
    """The study of a search, which has no trials yet: they are `point`s, found one by one.

    Raises:
        UsageError: as `build`.
    """
    study = build(replace(request, chosen=[BASELINE], new=(), heat_map=()))
    name = request.name or f"search-{study.name}"
    return replace(study, name=name, trials=(), objective=objective)


def point(study: Study, overrides: Overrides, position: int) -> Trial:
    """The trial of one point of a search; the same point has the same name in every session.

    Raises:
        ConfigError: settings that contradict each other.
    """
    config = apply(study.baseline, overrides)
    name = BASELINE if config == study.baseline else f"point-{hashed([flatten(config)])[:6]}"
    delta = {} if name == BASELINE else overrides
    return _trial(name, "variant", position, delta, config, study.about)


def _published(request: Request, name: str) -> dict[str, float]:
    """The report's figures for a variant, by metric."""
    figures = request.space.published.get(request.preset, {})
    return {metric: of_variant[name] for metric, of_variant in figures.items() if name in of_variant}


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
        raise UsageError(
            f"--variants-file {path}: must map each variant's name to its settings, {{setting: value}}; a name such as "
            "no or 1 needs quotes"
        )
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
        if name in known or name in CONTROLS or PROBE.fullmatch(name):
            raise UsageError(f"variant {name!r}: the name is taken; choose another")
        known[name] = delta
    return known


def described(delta: Overrides) -> str:
    """A delta as a person writes it: `unet.block=convnext`."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in delta.items()) or "-"


def _preset(space: Space, name: str) -> Config:
    if name not in space.presets:
        raise UsageError(f"--preset: unknown preset {name!r} of {space.name}; allowed: {', '.join(space.presets)}")
    return space.presets[name]()


def _known(request: Request, variants: Mapping[str, Overrides]) -> list[str]:
    if not request.chosen:
        return list(variants)
    for name in request.chosen:
        if name not in variants:
            raise UsageError(f"--variants: unknown variant {name!r}; allowed: {', '.join(variants)}")
    # A variant that the command line spells out is meant to run, whatever --variants leaves out.
    return list(dict.fromkeys([*request.chosen, *(name for name, _ in request.new)]))


def _seeds(seeds: Sequence[int]) -> list[int]:
    for seed in seeds:
        if seed < 0:
            raise UsageError(f"--seeds: must be 0 or more, but got {seed}")
    return list(dict.fromkeys(seeds))


def _varied(name: str, baseline: Config, delta: Overrides) -> Config:
    try:
        return apply(baseline, delta)
    except ConfigError as error:
        raise UsageError(f"variant {name}: {error}") from None


def _check_fit(name: str, config: Config, facts: About, own: About) -> None:
    """Passes if the config fits the study's data, and has no other.

    Args:
        facts: of the study's dataset.
        own: of the config's.
    """
    try:
        if own != facts:
            raise ConfigError("a variant cannot change the dataset: its figures would not compare with the baseline's")
        _fits(config, facts)
    except ConfigError as error:
        raise UsageError(str(error) if name == BASELINE else f"variant {name}: {error}") from None


def _fits(config: Config, facts: About) -> None:
    """Checks what only the dataset can tell."""
    segmentation, sampling = config.segmentation, config.sampling
    dataset = config.data.dataset
    if config.pretrained is None and not facts.train_images:
        raise ConfigError(f"data.dataset: {dataset} has no images to train a DDPM on; it needs a pretrained one")
    wanted = segmentation.label_images + segmentation.validation_images
    if "segmentation" in config.stages and wanted > facts.label_images:
        raise ConfigError(
            f"segmentation.label_images + validation_images must be at most {facts.label_images}, "
            f"the labelled split of {dataset}, but got {segmentation.label_images} + {segmentation.validation_images} "
            "(--set segmentation.label_images=...)"
        )
    if "fid" in config.stages and sampling.source == "held_out" and sampling.samples > facts.held_out_images:
        raise ConfigError(
            f"sampling.samples must be at most {facts.held_out_images}, the held-out images of {dataset}, "
            f"but got {sampling.samples}"
        )
    if "fid" in config.stages and "fid_digits" in config.fid.metrics and facts.image_channels != 1:
        raise ConfigError(
            f"fid.metrics: fid_digits is for grey images, and {dataset} has {facts.image_channels} channels; "
            "--set fid.metrics=[fid] takes the Inception's features"
        )


def _distinct(names: Sequence[str], configs: Mapping[str, Config]) -> None:
    seen: dict[Config, str] = {}
    for name in names:
        twin = seen.setdefault(configs[name], name)
        if twin == BASELINE != name:
            raise UsageError(f"variant {name}: changes nothing, the baseline is already so")
        if twin != name:
            raise UsageError(f"variant {name}: is the same as variant {twin}")


def _check_used(name: str, stages: Mapping[str, str], seen: dict[frozenset[tuple[str, str]], str]) -> None:
    """Passes if the variant makes something that none before it makes.

    Args:
        stages: the variant's keys by stage.
        seen: the variants before it by theirs; this one is added.
    """
    twin = seen.setdefault(frozenset(stages.items()), name)
    if twin != name:
        raise UsageError(f"variant {name}: the stages {', '.join(stages)} make no use of it; it would repeat {twin}")


def _trial(name: str, kind: str, position: int, delta: Overrides, config: Config, facts: About) -> Trial:
    stages = stage_keys(config, facts)
    has_network = "ddpm" in stages or (config.pretrained is not None and config.segmentation.features == "unet")
    return Trial(
        variant=name,
        kind=kind,
        position=position,
        delta=CONTROL_MEANING[name] if kind == "control" else described(delta),
        config=config,
        key=trial_key(config, facts),
        stages=stages,
        flops=stage_flops(config, facts),
        parameters=network_cost(config, facts).parameters if has_network else None,
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
