"""The plan of a study: variants x seeds, the controls and the heat map -> its trials. Imports no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import UsageError
from orchestrator.planning.draft import baseline, draft, for_data
from orchestrator.planning.fit import check_fit, check_used, fitted
from orchestrator.planning.match import check_match, matched, unmatched
from orchestrator.planning.names import BASELINE, usual_name
from orchestrator.planning.own_code import NO_CODE, OwnCode, own_code
from orchestrator.planning.remarks import called, remarks, splits
from orchestrator.planning.resolved import resolved, written
from orchestrator.planning.settings import Request, described
from orchestrator.planning.study_file import StudyFile
from results.size import unlike
from search_spaces.designs import Design
from trainables.canonical import identified
from trainables.config import Config, Overrides, apply, references
from trainables.data import About, DataError, Survey, about
from trainables.inputs import NOWHERE, Inputs
from trainables.network_cost import network_cost
from trainables.own_parts import PartError
from trainables.source import own_files
from trainables.stages import stage_flops, stage_keys, trial_key, twin_keys
from trainables.store import hashed

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
    parameters: int | None  # None where there is no network
    forward_flops: int | None  # operations of its network for one image
    published: Mapping[str, float] = field(default_factory=dict)  # metric -> the report's figure
    remarks: tuple[str, ...] = ()  # what a reader must know of it
    own_files: Mapping[str, str] = field(default_factory=dict)  # the code of the person's own that it runs, by path

    @property
    def name(self) -> str:
        """The trial's name in Ray, in MLflow and on the screen."""
        return f"{self.variant}-seed{self.config.seed}"

    @property
    def size(self) -> dict[str, int | None]:
        """Its network's, by the names of `results.size.SIZES`."""
        return {"parameters": self.parameters, "forward_flops": self.forward_flops}

    @property
    def row(self) -> tuple[str, int]:
        """What its run stands for in the table."""
        return self.variant, self.config.seed


@dataclass(frozen=True)
class Study:
    """What one command runs: trials over one baseline."""

    name: str
    preset: str
    baseline: Config
    about: About
    trials: tuple[Trial, ...]
    inputs: Inputs = NOWHERE
    own: OwnCode = NO_CODE  # of the person's
    left_out: tuple[str, ...] = ()  # variants that nobody asked for by name and that this baseline makes void
    survey: Survey | None = None  # of the data's files, where people made them
    notes: tuple[str, ...] = ()  # on what it reads: what a person should know before it runs
    objective: str = ""  # what a search maximises
    generation: int = 0  # times that it was begun anew
    keys: Callable[[Config], dict[str, str]] | None = None  # of a config's stages; None: those of today's code
    file: StudyFile | None = None  # it as a file; a search has none
    design: Design | None = None  # of the variants that run together; None where none do

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of some variants, each remark once."""
        told: dict[str, dict[str, None]] = {}
        trials = [trial for trial in self.trials if trial.kind != "probe"]  # a cell of the heat map is no row
        for trial in trials:
            for remark in trial.remarks:
                told.setdefault(remark, {})[trial.variant] = None
        rows = len({trial.variant for trial in trials})
        named = [("all rows" if 1 < len(of) == rows else ", ".join(of), remark) for remark, of in told.items()]
        return [f"{names}: {remark}" for names, remark in named]

    @property
    def unlike(self) -> dict[str, str]:
        """The variants whose network is not of the baseline's size: in what they are not, by name."""
        baseline = next((t.size for t in self.trials if t.variant == BASELINE), {})
        told = {trial.variant: unlike(trial.size, baseline) for trial in self.trials}
        return {name: words for name, words in told.items() if words}

    @property
    def called(self) -> str:
        """What its data are called."""
        return called(self.baseline.data, self.inputs.data_root)

    @property
    def data_told(self) -> str:
        """What its data are, and how they are split, in words."""
        return f"data {self.called}: {splits(self.about)}"

    @property
    def as_file(self) -> str:
        """The text of the study file that runs it again; "" for a search."""
        beside = {
            "--data-root FOLDER": self.inputs.data_root,
            "--checkpoint FILE": self.inputs.checkpoint,
            "--accept-code": self.keys,
        }
        options = [option for option, used in beside.items() if used]
        return written(self.file, options, list(self.own.files)) if self.file else ""

    def stages(self, config: Config) -> dict[str, str]:
        """The keys of the config's stages."""
        return self.keys(config) if self.keys else stage_keys(config, self.about)

    def key(self, config: Config) -> str:
        """The key of a trial of this config: each generation has runs of its own."""
        key = trial_key(self.stages(config))
        return f"{key}.{self.generation}" if self.generation else key

    def accepted(self, config: Config) -> list[str]:
        """The config's stages whose output of other code is taken as it is, and those that follow from them."""
        today = stage_keys(config, self.about)
        return [stage for stage, key in self.stages(config).items() if key != today[stage]]

    def of_generation(self, generation: int, keys: Callable[[Config], dict[str, str]] | None = None) -> Study:
        """The same study, begun anew so many times.

        Args:
            keys: of a config's stages, where some of other code are accepted.
        """
        study = replace(self, generation=generation, keys=keys)
        return replace(study, trials=tuple(study.resolved(trial) for trial in self.trials))

    def resolved(self, trial: Trial) -> Trial:
        """The trial with the keys that it has in this study."""
        return replace(trial, stages=self.stages(trial.config), key=self.key(trial.config))


def build(request: Request, facts: About | None = None) -> Study:
    """The study that is asked for.

    Args:
        facts: of the baseline's dataset, where they are known: to find them may take reading all its files.

    Raises:
        UsageError: as `draft`; data that are not there, or that a config does not fit.
    """
    wanted, root = baseline(request).data, request.inputs.data_root
    data = called(wanted, root)
    check_match(request)
    names, seen = list[str](), dict[frozenset[tuple[str, str]], str]()
    configs: dict[str, Config] = {}
    try:
        facts = facts or about(wanted, root)
        request = for_data(request, facts)
        drafted = draft(request)
        base, deltas, left_out = drafted.baseline, dict(drafted.deltas), list(drafted.left_out)
        for name, config in drafted.configs.items():
            kind = drafted.kinds[name]
            configs[name] = config = fitted(config, facts) if kind == "control" else config
            try:
                if request.match and kind == "variant":
                    deltas[name] = _matched(name, config, deltas[name], base, facts, request.match)
                    configs[name] = config = apply(base, deltas[name])
                same = config.data.dataset == base.data.dataset  # its facts do not depend on the image size
                check_fit(name, kind, config, facts, facts if same else about(config.data, root), data)
                if kind == "variant":
                    check_used(name, twin_keys(config, facts), seen)
            except UsageError as error:
                if kind == "probe" or name in drafted.asked:
                    raise
                left_out.append(str(error))
            else:
                names.append(name)
    except DataError as error:
        raise UsageError(str(error)) from None
    kinds = drafted.kinds
    trials = [
        _trial(n, kinds[n], position, deltas[n], apply(configs[n], {"seed": seed}), facts, base, data, request.match)
        for seed in _seeds(request.seeds)
        for position, n in enumerate(names)
    ]
    if base == request.space.presets[request.preset]() and request.suite is None:  # else they would not compare
        trials = [replace(t, published=_published(request, base, t.variant, configs[t.variant])) for t in trials]
    name = request.name or usual_name(request, base, facts)
    run = {n: deltas[n] for n in names if kinds[n] == "variant" and n != BASELINE}
    components = list(drafted.components) if drafted.design else None
    file = resolved(request, name, base, {**drafted.components, **run}, drafted.heat_map, components)
    own = own_code((trial.config, trial.own_files) for trial in trials)
    left, design = tuple(left_out), drafted.design
    return Study(name, request.preset, base, facts, tuple(trials), request.inputs, own, left, file=file, design=design)


def search(request: Request, facts: About | None = None, *, objective: str) -> Study:
    """The study of a search, which has no trials yet: they are `point`s, found one by one.

    Args:
        facts: as for `build`.
        objective: the metric that is maximised.

    Raises:
        UsageError: as `build`.
    """
    study = build(replace(request, chosen=[BASELINE], new=(), heat_map=()), facts)
    (seed,) = request.seeds
    name = request.name or f"search-{study.name}" + (f"-seed{seed}" if seed else "")
    baseline = apply(study.baseline, {"seed": seed})  # another seed is another search: its DDPM, its points, its name
    return replace(study, name=name, baseline=baseline, trials=(), objective=objective, file=None)


def point(study: Study, overrides: Overrides, position: int) -> Trial:
    """The trial of one point of a search; the same point has the same name in every session.

    Raises:
        ConfigError: settings that contradict each other.
    """
    config = apply(study.baseline, overrides)
    name = BASELINE if config == study.baseline else f"point-{hashed([identified(config)])[:6]}"
    delta = {} if name == BASELINE else overrides
    return study.resolved(_trial(name, "variant", position, delta, config, study.about, study.baseline, study.called))


def _published(request: Request, base: Config, name: str, config: Config) -> dict[str, float]:
    """The report's figures for a variant, by metric; none where a study file gives its name to another change."""
    of_preset = request.space.published.get(request.preset, {})
    figures = {metric: of_variant[name] for metric, of_variant in of_preset.items() if name in of_variant}
    same = not figures or apply(base, request.space.variants[request.preset][name]) == config
    return figures if same else {}


def _seeds(seeds: Sequence[int]) -> list[int]:
    for seed in seeds:
        if seed < 0:
            raise UsageError(f"--seeds: must be 0 or more, but got {seed}")
    return list(dict.fromkeys(seeds))


def _matched(name: str, config: Config, delta: Overrides, baseline: Config, facts: About, match: str) -> Overrides:
    try:
        return matched(name, config, delta, baseline, facts, match)
    except PartError as error:
        raise UsageError(f"variant {name}: {error}") from None


def _trial(
    name: str,
    kind: str,
    position: int,
    delta: Overrides,
    config: Config,
    facts: About,
    baseline: Config,
    data: str,
    match: str | None = None,
) -> Trial:
    try:
        stages, flops = stage_keys(config, facts), stage_flops(config, facts)
        cost, told = network_cost(config, facts), tuple(remarks(config, baseline, facts, data))
    except PartError as error:
        raise UsageError(f"{kind} {name}: {error}") from None
    size = unmatched(config, baseline, facts, match) if match and kind == "variant" else ()
    has_network = "ddpm" in stages or (config.pretrained is not None and config.segmentation.features == "unet")
    return Trial(
        variant=name,
        kind=kind,
        position=position,
        delta=CONTROL_MEANING[name] if kind == "control" else described(delta),
        config=config,
        key=trial_key(stages),
        stages=stages,
        flops=flops,
        parameters=cost.parameters if has_network else None,
        forward_flops=cost.forward_flops if has_network else None,
        remarks=(*told, *size),
        own_files=own_files(references(config).values()),
    )
