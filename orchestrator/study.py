"""A study from its plan to its table: what a command does once its words are read and its data looked at."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.conditions import Conditions
from orchestrator.errors import UsageError
from orchestrator.pictures import KINDS
from orchestrator.place import Place
from orchestrator.plan import Study, Trial
from orchestrator.progress import open_log
from orchestrator.registry import Registry
from orchestrator.screen import console
from orchestrator.session import Session
from orchestrator.tracking import Tracking, save_pictures
from trainables.claims import Claims

if TYPE_CHECKING:
    import pandas as pd

Work = Callable[[Study, Place], int]


def run(study: Study, place: Place, conditions: Conditions, fresh: bool = False, address: str = "local") -> int:
    """The exit code of the study: 0 if every trial ended well, 1 if one failed, 130 if the person stopped it.

    Args:
        conditions: of this session; its store is replaced by the place's.
        fresh: whether to begin anew beside what is in the store; that stays.
        address: of the Ray cluster; "local" starts one here.

    Raises:
        UsageError: another process runs this study.
    """
    return claimed(study, place, fresh, lambda study, place: _run(study, place, conditions, address))


def claimed(study: Study, place: Place, fresh: bool, work: Work) -> int:
    """What `work` returns, done while no other process can run the same study.

    Args:
        fresh: whether to begin anew beside what is in the store.
        work: is given the study and the place of its generation.

    Raises:
        UsageError: another process runs this study.
    """
    registry = Registry(place.store)
    claims = Claims(registry.store)
    claim = claims.claim(f"study-{study.name}")
    if claim is None:
        holder = claims.holder(f"study-{study.name}") or {}
        who = f"process {holder.get('pid')} on {holder.get('host')}"
        raise UsageError(f"--name: the study {study.name} is being run by {who}; wait for it, or choose another name")
    with claim:
        generation = registry.generation(study.name) + fresh
        trials = tuple(of_generation(trial, generation) for trial in study.trials)
        study = replace(study, trials=trials, generation=generation)
        registry.enter(study.name, generation, study.trials)
        return work(study, replace(place, store=registry.root_of(generation)))


def of_generation(trial: Trial, generation: int) -> Trial:
    """The trial under the key that it has in a study begun anew so many times: each has runs of its own."""
    return replace(trial, key=f"{trial.key}.{generation}") if generation else trial


def _run(study: Study, place: Place, conditions: Conditions, address: str) -> int:
    with open_log(place.study(study.name)) as log:
        session = Session(study, place, log)
        for why in study.left_out:
            session.board.line(f"left out: {why}")
        session.board.line(f"study {study.name}: {session.summary()}")
        interrupted = session.run(replace(conditions, store=place.store), address)
        return session.close(interrupted, lambda tracking: show(study.name, place, console(), tracking))


def show(name: str, place: Place, out: Console, tracking: Tracking | None = None, brief: bool = False) -> None:
    """Prints the study's table from MLflow, and writes the report beside its pictures.

    Args:
        brief: leaves the table to the report.
    """
    from results import report, table

    folder = place.study(name)
    trials = table.load_trials(place.tracking_uri, name)
    summary = table.summarise(trials, table.present_metrics(trials))
    shown = zip(trials["variant"], trials["seed"], strict=True)
    overview = _overview(table.heat_map(trials), summary, folder)
    written = report.write(summary, trials, folder, _pictures(folder, shown), study=name, overview=overview)
    if tracking:
        tracking.describe(report.markdown_table(summary, trials))
    out.print()
    if not brief:
        out.print(report.console_table(summary, trials, width=out.width))
    page = next(path for path in written if path.suffix == ".html")
    out.print(f"report    {page}", soft_wrap=True)
    out.print(f"pictures  {folder / 'pictures'}", soft_wrap=True)
    out.print(f"MLflow    {open_command(place.tracking_uri)}", soft_wrap=True)
    if tracking:
        root = place.tracking_uri.rstrip("/") if place.tracking_uri.startswith("http") else "http://127.0.0.1:5000"
        out.print(f"          then {root}/{tracking.page}", soft_wrap=True)


def _overview(cells: pd.DataFrame, summary: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """The pictures of the whole study: caption -> file."""
    if cells.empty:
        return {}
    from results import figures

    whole = summary.loc[(summary["variant"] == "baseline") & (summary["metric"] == "miou"), "mean"]
    paths = save_pictures({"heat_map": figures.heat_map(cells, float(whole.iloc[0]))}, folder / "pictures")
    return {"mIoU of each block and timestep alone": paths["heat_map"]}


def open_command(tracking_uri: str) -> str:
    """What to type to see the study in MLflow."""
    if tracking_uri.startswith("http"):
        return f"open {tracking_uri}"
    mlflow = Path(sys.executable).parent / "mlflow"
    here = mlflow.relative_to(Path.cwd()) if mlflow.is_relative_to(Path.cwd()) else mlflow
    return f"{shlex.quote(str(here))} ui --backend-store-uri {shlex.quote(tracking_uri)}"


def _pictures(folder: Path, trials: Iterable[tuple[str, int]]) -> dict[str, dict[str, Path]]:
    """The pictures that are there: variant -> caption -> file."""
    found: dict[str, dict[str, Path]] = {}
    for variant, seed in trials:
        for kind in KINDS:
            path = folder / "pictures" / f"{variant}-seed{seed}" / f"{kind}.png"
            if path.exists():
                found.setdefault(variant, {})[f"{kind}, seed {seed}"] = path
    return found
