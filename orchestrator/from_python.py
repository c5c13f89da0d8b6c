"""A study from Python: what `ablations` does on the command line, with objects where words name parts."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import arguments, signals
from orchestrator.cluster.connection import set_environment
from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.names import BASELINE
from orchestrator.planning.objects import as_settings
from orchestrator.planning.settings import Request
from orchestrator.planning.study_file import StudyFile, asked, checked, read
from orchestrator.preflight.inputs import with_checkpoint
from orchestrator.preflight.order import checked as looked_at
from orchestrator.storage.locations import Locations, check_address
from orchestrator.study.session_config import SessionConfig
from search_spaces.spaces import ABLATIONS
from trainables.config import Overrides
from trainables.own_parts import PartError
from trainables.own_places import take

if TYPE_CHECKING:
    import pandas as pd

Variants = Mapping[str, Overrides | None] | Iterable[str]
_one_at_a_time = threading.Lock()  # a process has one Ray
# Options of the command line that are called otherwise here.
OTHERWISE = {"preset": "baseline", "set": "settings", "variant": "variants"}


@dataclass(frozen=True)
class Ablation:
    """A study that was run, as its records in MLflow have it.

    Args:
        exit_code: 0 if every trial ended well, 1 if one failed.
        locations: where it is kept.
        asked: the variants of the call; rows of earlier ones stay in the table.
    """

    name: str
    exit_code: int
    locations: Locations = field(repr=False)
    asked: tuple[str, ...] = field(repr=False)

    def trials(self) -> pd.DataFrame:
        """A row a trial: variant, seed, status, error, every metric and every setting."""
        from results.trials import load_trials  # only now: it imports pandas

        trials = load_trials(self.locations.tracking_uri, self.name)
        trials.attrs["asked"] = list(self.asked)
        return trials

    def table(self) -> pd.DataFrame:
        """A row a variant and metric, as in table.csv: n, mean, sd, difference with its interval, p, verdict."""
        return _summary(self.trials())

    def effects(self) -> pd.DataFrame:
        """A row a metric and effect, as in effects.csv: what each component does, and what they do together."""
        from results.effects import effects_table

        return effects_table(self.trials())

    @property
    def failures(self) -> dict[str, str]:
        """What each trial that did not finish says, by its name."""
        trials = self.trials()
        lost = trials[trials["status"] != "FINISHED"]
        rows = zip(lost["variant"], lost["seed"], lost["status"], lost["error"], strict=True)
        return {f"{variant}-seed{seed}": error or status for variant, seed, status, error in rows}

    def show(self) -> None:
        """Shows the study's pictures in a notebook; elsewhere prints where they are."""
        from orchestrator.study.study import pictures_of

        trials = self.trials()
        pictures = pictures_of(self.locations.study(self.name), zip(trials["variant"], trials["seed"], strict=True))
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is None:
            print("\n".join(str(path) for of_variant in pictures.values() for path in of_variant.values()))
            return
        from IPython.display import HTML, display

        from results.html import html_pictures

        display(HTML(html_pictures(pictures)))  # type: ignore[no-untyped-call]

    def _repr_html_(self) -> str:
        from results.html import html_table

        trials = self.trials()
        return html_table(_summary(trials), trials)


def ablate(
    baseline: str | PathLike[str] | Mapping[str, Any] = "quick",
    variants: Variants | None = None,
    seeds: Iterable[int] | None = None,
    *,
    settings: Overrides | None = None,
    suite: str | None = None,
    match: str | None = None,
    design: str | None = None,
    components: Iterable[str] | None = None,
    pairs: Iterable[str] | None = None,
    name: str | None = None,
    storage: str | PathLike[str] = "runs",
    tracking_uri: str | None = None,
    store: str | None = None,
    data_root: str | PathLike[str] | None = None,
    address: str = "local",
    gpus_per_trial: float | None = None,
    cpus_per_trial: int = 1,
    max_concurrent: int = 0,
    deterministic: bool | None = None,
    gpu_hour_price: float = 0.0,
    fresh: bool = False,
    accept_code: bool = False,
) -> Ablation:
    """The study, run to its end: what is stored is not run again, as with the command `ablations`.

    Wherever a setting names a part, its value may be the class or function itself, one of a notebook's cell too.

    Args:
        baseline: a preset's name, a study file (.yaml), or changes of a preset: `{"preset": "quick", setting: value}`.
        variants: name -> changes of the baseline, or None for the preset's or suite's of that name; or names alone.
            These run beside the baseline and the controls; left out: all of the preset, the suite or the file.
        seeds: one training of each variant a seed; left out: 0, or those of the file.
        settings: changes of the baseline, and with it of every variant.
        design: which variants run together, as `--design`; `components` and `pairs` as the options of these names.
        name: of the study; left out: made from the preset and the settings.
        storage: and what follows, as the command's options of the same names.

    Raises:
        UsageError: what was given cannot be; nothing has been started or written.
        KeyboardInterrupt: the person stopped it; the same call goes on.
    """
    with _alone(), signals.restored(), _in_python():
        signals.listen()
        set_environment()
        path, file = _said(baseline, variants, settings)
        words: dict[str, Any] = {"suite": suite, "match": match, "name": name, "chosen": _chosen(variants)}
        words |= {"design": design, "components": _listed(components), "pairs": _listed(pairs)}
        words["seeds"] = None if seeds is None else list(seeds)
        checked({key: word for key, word in words.items() if word is not None}, "ablate", ABLATIONS)
        args = arguments.parser().parse_args([ABLATIONS.name])  # for the defaults
        options: dict[str, Any] = {
            "address": address,
            "gpus_per_trial": gpus_per_trial,
            "cpus_per_trial": cpus_per_trial,
        }
        options |= {"tracking_uri": tracking_uri, "store": store, "storage": Path(storage)}
        options |= {"data_root": None if data_root is None else Path(data_root)}
        options |= {"deterministic": deterministic, "gpu_hour_price": gpu_hour_price}
        vars(args).update(options, fresh=fresh, accept_code=accept_code)
        request = asked(ABLATIONS, path, words, (), arguments.inputs(args), file)
        return _run(args, request)


def _run(args: argparse.Namespace, request: Request) -> Ablation:
    check_address(args.address)
    request = with_checkpoint(request)
    resources, limits, locations = arguments.resources(args), arguments.limits(args), arguments.locations(args)
    study, locations = looked_at(request, locations, plan.build, args.address, args.tracking_uri, args.store)
    from orchestrator.study.study import run  # only now: it imports MLflow

    session_config = SessionConfig(study.inputs, locations.store, resources, limits, args.gpu_hour_price)
    code = run(study, locations, session_config, args.fresh, args.address, args.accept_code, brief=True)
    if code == signals.INTERRUPTED:
        raise KeyboardInterrupt
    return Ablation(study.name, code, locations, tuple(sorted({trial.variant for trial in study.trials})))


def _said(
    baseline: str | PathLike[str] | Mapping[str, Any], variants: Variants | None, settings: Overrides | None
) -> tuple[Path | None, StudyFile]:
    """The study file that the baseline is, if it is one, and what it holds with what is laid over it."""
    path = None
    if isinstance(baseline, Mapping):
        file = StudyFile(preset=baseline.get("preset", StudyFile().preset))
        settings = {**{key: value for key, value in baseline.items() if key != "preset"}, **(settings or {})}
    elif isinstance(baseline, PathLike) or baseline.endswith((".yaml", ".yml")):
        path = Path(baseline)
        file = read(path, ABLATIONS)
    else:
        file = StudyFile(preset=baseline)
    files: dict[str, str] = {}
    deltas = variants.items() if isinstance(variants, Mapping) else ()
    own = {name: _named(f"variant {name}: ", delta, files) for name, delta in deltas if delta is not None}
    content = {"settings": _named("", settings or {}, files), "variants": own}
    laid = checked(content, "ablate", ABLATIONS)
    take(files)
    both = {"settings": {**file.settings, **laid.settings}, "variants": {**file.variants, **laid.variants}}
    return path, file.model_copy(update=both)


def _named(whose: str, settings: Overrides, files: dict[str, str]) -> dict[str, Any]:
    try:
        return as_settings(settings, files)
    except PartError as error:
        raise UsageError(f"{whose}{error}") from None


def _listed(names: Iterable[str] | None) -> object:
    """One text is no list of names: what checks the words says so."""
    return names if names is None or isinstance(names, str) else list(names)


def _chosen(variants: Variants | None) -> list[str] | None:
    if isinstance(variants, str):
        raise UsageError(f"variants: must be a list of names, or name -> settings, but got {variants!r}")
    return None if variants is None else list(variants) or [BASELINE]


def _summary(trials: pd.DataFrame) -> pd.DataFrame:
    from results.summary import present_metrics, summarise

    return summarise(trials, present_metrics(trials))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Nothing else of this process runs a study, or Ray, meanwhile.

    Raises:
        UsageError: something does.
    """
    ray = sys.modules.get("ray")
    if not _one_at_a_time.acquire(blocking=False):
        raise UsageError("ablate: another call of it runs in this process: wait for its end")
    try:
        if ray is not None and ray.is_initialized():
            raise UsageError("ablate: this process has a Ray of its own: call ray.shutdown() first")
        yield
    finally:
        _one_at_a_time.release()


@contextlib.contextmanager
def _in_python() -> Iterator[None]:
    """Errors speak of arguments, not of options."""
    try:
        yield
    except UsageError as error:
        raise UsageError(re.sub(r"--([a-z][a-z-]*)", _argument, str(error))) from None


def _argument(option: re.Match[str]) -> str:
    return OTHERWISE.get(option[1], option[1].replace("-", "_"))
