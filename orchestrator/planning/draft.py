"""What a request means before its data are looked at: a config each variant, control and cell. Imports no Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from orchestrator.errors import UsageError
from orchestrator.planning.designed import deltas_of, design_of, without_use
from orchestrator.planning.fit import check_distinct
from orchestrator.planning.names import BASELINE, check_variant_name, is_cell
from orchestrator.planning.settings import Request
from search_spaces.designs import Design
from search_spaces.segmentation import HEAT_MAP_TIMESTEPS, probes
from trainables.config import Config, ConfigError, Overrides, apply, references
from trainables.data import About
from trainables.own_parts import PartError, check_there, load


def baseline(request: Request) -> Config:
    """The config that the study's variants are changes of.

    Raises:
        UsageError: an unknown preset, or a setting that cannot be.
    """
    try:
        return _applied(_preset(request), request.settings)
    except ConfigError as error:
        where = request.told("settings", "")
        raise UsageError(f"{where}: {error}" if where else str(error)) from None


def for_data(request: Request, facts: About) -> Request:
    """The request without the segmentation where its data have no masks, unless it names the stages or has no other.

    Args:
        facts: of the baseline's dataset.
    """
    others = [stage for stage in baseline(request).stages if stage != "segmentation"]
    if facts.class_names or not others or "stages" in request.settings:
        return request
    return replace(request, settings={**request.settings, "stages": others})


@dataclass(frozen=True)
class Draft:
    """What a request means before its data are looked at: the configs, by variant, control and cell of the heat map."""

    baseline: Config
    kinds: Mapping[str, str]
    deltas: Mapping[str, Overrides]
    configs: Mapping[str, Config]
    left_out: tuple[str, ...]  # of the variants that nobody asked for by name, those that cannot be, and why
    asked: frozenset[str]
    heat_map: tuple[int, ...]  # the timesteps of its cells
    design: Design | None  # of the variants that run together; None where none do
    components: Mapping[str, Overrides]  # what its components change, whether they run alone or not


def draft(request: Request) -> Draft:
    """The request's configs.

    Raises:
        UsageError: an unknown preset, suite or variant, a setting that cannot be, or a variant that is asked for by
            name and cannot be or changes nothing.
    """
    base = baseline(request)
    variants = _with_new({**_variants(request), **request.own}, request.new)
    asked = {*(request.chosen or request.own), *(name for name, _ in request.new), BASELINE}
    usual = [n for n in _known(request, variants) if request.components is None or n in asked]
    configs, left_out = _possible(request, base, variants, usual, asked)
    design, components = None, dict[str, Overrides]()
    if request.crosses:
        design = design_of(request, variants, list(configs))
        components = {name: variants[name] for name in design.components}
        variants = {BASELINE: variants[BASELINE], **deltas_of(request, design, variants, list(configs))}
        asked = set(variants)
        configs, _ = _possible(request, base, variants, list(variants), asked)
    left_out += without_use(request, configs)
    possible = request.space.controls(base)
    controls = {n: d for n, d in possible.items() if set(d.get("stages", base.stages)) <= set(base.stages)}
    heat_map = _heat_map(request, base)
    cells = probes(base, heat_map)
    deltas = {n: variants[n] for n in configs} | controls | cells
    kinds = dict.fromkeys(configs, "variant") | dict.fromkeys(controls, "control") | dict.fromkeys(cells, "probe")
    configs |= {n: _varied(n, base, delta) for n, delta in (controls | cells).items()}
    left = tuple(left_out)
    return Draft(base, kinds, deltas, configs, left, frozenset(asked), tuple(heat_map), design, components)


def _possible(
    request: Request, base: Config, variants: Mapping[str, Overrides], names: Iterable[str], asked: Collection[str]
) -> tuple[dict[str, Config], list[str]]:
    """The configs of those names that can be, the baseline's first, and why others cannot.

    Raises:
        UsageError: one that is asked for cannot be.
    """
    configs, left_out = {BASELINE: _varied(BASELINE, base, variants[BASELINE])}, list[str]()
    for name in names:
        if name == BASELINE:
            continue
        try:
            config = _varied(name, base, variants[name])
            check_distinct(name, config, configs)
        except UsageError as error:
            if name in asked:
                raise UsageError(
                    f"{request.file}: {error}" if request.file and name in request.own else str(error)
                ) from None
            left_out.append(str(error))
        else:
            configs[name] = config
    return configs, left_out


def _heat_map(request: Request, base: Config) -> list[int]:
    last = base.diffusion.timesteps - 1
    if request.heat_map is None:
        return [t for t in HEAT_MAP_TIMESTEPS if t <= last]
    for t in request.heat_map:
        if not 0 <= t <= last:
            where = request.told("heat_map", "--heat-map")
            raise UsageError(f"{where}: must be timesteps from 0 to {last}, but got {t}")
    return list(request.heat_map)


def _variants(request: Request) -> Mapping[str, Overrides]:
    space, suite = request.space, request.suite
    if suite is None:
        return space.variants[request.preset]
    if suite not in space.suites:
        raise UsageError(f"--suite: unknown suite {suite!r} of {space.name}; allowed: {', '.join(space.suites)}")
    return space.suites[suite]


def _with_new(variants: Mapping[str, Overrides], new: Iterable[tuple[str, Overrides]]) -> dict[str, Overrides]:
    """The variants with `new` ones added.

    Raises:
        UsageError: a name that is taken or that cannot be a file's.
    """
    known = dict(variants)
    for name, delta in new:
        check_variant_name(name, known)
        if "seed" in delta:
            raise UsageError(f"variant {name}: the seed is given by --seeds")
        known[name] = delta
    return known


def _preset(request: Request) -> Config:
    space, name = request.space, request.preset
    if name not in space.presets:
        where = request.told("preset", "--preset")
        raise UsageError(f"{where}: unknown preset {name!r} of {space.name}; allowed: {', '.join(space.presets)}")
    return space.presets[name]()


def _known(request: Request, variants: Mapping[str, Overrides]) -> list[str]:
    if not request.chosen:
        return [name for name in variants if not is_cell(name)]
    for name in request.chosen:
        if name not in variants:
            where = request.told("chosen", "--variants")
            raise UsageError(f"{where}: unknown variant {name!r}; allowed: {', '.join(variants)}")
    # A variant that the command line spells out is meant to run, whatever --variants leaves out.
    names = dict.fromkeys([*request.chosen, *(name for name, _ in request.new)])
    return [name for name in names if not is_cell(name)]


def _varied(name: str, baseline: Config, delta: Overrides) -> Config:
    try:
        config = _applied(baseline, delta)
        for setting, reference in references(config).items():
            with _told_of(setting):
                check_there(reference)
    except ConfigError as error:
        raise UsageError(str(error) if name == BASELINE else f"variant {name}: {error}") from None
    return config


def _applied(baseline: Config, delta: Overrides) -> Config:
    """The config; where it cannot be, a part among the changes that cannot be had is told first, and not what it needs.

    Raises:
        ConfigError: as `apply`.
    """
    try:
        return apply(baseline, delta)
    except ConfigError:
        for setting, reference in references(delta).items():
            with _told_of(setting):
                check_there(reference)
                load(reference)
        raise


@contextlib.contextmanager
def _told_of(setting: str) -> Iterator[None]:
    """Raises the `PartError` that ends the block as the setting's."""
    try:
        yield
    except PartError as error:
        raise ConfigError(f"{setting}: {error}") from None
