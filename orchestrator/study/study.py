"""A study from its plan to its table: what a command does once its words are read and its data looked at."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.cluster.resources import device_told
from orchestrator.console import console
from orchestrator.errors import UsageError, one_line
from orchestrator.planning.plan import Study
from orchestrator.storage.earlier_code import EarlierCode
from orchestrator.storage.locations import Locations
from orchestrator.storage.registry import Registry
from orchestrator.study.progress import open_log
from orchestrator.study.recorded import Recorded, recorded
from orchestrator.study.session import Session
from orchestrator.study.session_config import SessionConfig
from orchestrator.tracking.pictures import KINDS, save_pictures
from orchestrator.tracking.writer import MLflowWriter
from trainables.claims import Claim, Claims, is_here
from trainables.store import Store

if TYPE_CHECKING:
    import pandas as pd

Work = Callable[[Study, Locations], int]


def run(
    study: Study,
    locations: Locations,
    session_config: SessionConfig,
    fresh: bool = False,
    address: str = "local",
    accept_code: bool = False,
    brief: bool = False,
) -> int:
    """The exit code of the study: 0 if every trial ended well, 1 if one failed, 130 if the person stopped it.

    Args:
        session_config: of this session; its store is replaced by that of the locations.
        fresh: whether to begin anew beside what is in the store; that stays.
        address: of the Ray cluster; "local" starts one here.
        accept_code: whether what other code made from the same settings is used as it is.
        brief: leaves the table to the report.

    Raises:
        UsageError: another process runs this study.
    """

    def work(study: Study, locations: Locations) -> int:
        return _run(study, locations, session_config, address, brief)

    return claimed(study, locations, fresh, work, accept_code)


def claimed(study: Study, locations: Locations, fresh: bool, work: Work, accept_code: bool = False) -> int:
    """What `work` returns, done while no other process can run the same study.

    Args:
        fresh: whether to begin anew beside what is in the store.
        work: is given the study and the locations of its generation.
        accept_code: as for `run`.

    Raises:
        UsageError: another process runs this study.
    """
    registry = Registry(locations.store)
    claim = _claim(Claims(registry.store), study.name)
    with claim:
        generation = registry.generation(study.name) + fresh
        earlier = EarlierCode(Store(registry.root_of(generation)), study.about)
        study = study.of_generation(generation, earlier.keys if accept_code else None)
        registry.enter(study.name, generation, study.trials)
        return work(study, replace(locations, store=registry.root_of(generation)))


def _claim(claims: Claims, study: str) -> Claim:
    """The claim on the study, once whoever holds it has been seen to be gone."""
    name = f"study-{study}"
    if claim := claims.claim(name):
        return claim
    holder = claims.holder(name)
    if holder and not is_here(holder):
        who = f"process {holder['pid']} on {holder['host']}"
        console().print(f"{study} was being run by {who}: waiting to see whether it lives", soft_wrap=True)
    holder = claims.living_holder(name)
    if holder is None and (claim := claims.claim(name)):
        return claim
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    raise UsageError(f"--name: the study {study} is being run by {who}; wait for it, or choose another name")


def _run(study: Study, locations: Locations, session_config: SessionConfig, address: str, brief: bool) -> int:
    with open_log(locations.study(study.name)) as log:
        session = Session(study, locations, log)
        for line in study.design.told if study.design else ():
            session.board.line(line)
        for why in study.left_out:
            session.board.line(f"left out: {why}")
        for remark in study.remarks:
            session.board.line(remark)
        for note in study.notes:
            session.board.line(f"note: {note}")
        session.board.line(study.data_told)
        _leave_file(study, locations.study_file(study.name), session)
        session.board.line(f"study {study.name}: {session.summary()}")
        session.board.line(device_told(session_config.resources, address))
        if session.writer.moved_from:
            session.board.line(f"the storage folder has moved, from {session.writer.moved_from}: its records follow it")
        for line in session.code_told():
            session.board.line(line)
        interrupted = session.run(replace(session_config, store=locations.store), address)
        return session.close(interrupted, lambda writer: show(study.name, locations, console(), writer, brief))


def _leave_file(study: Study, path: Path, session: Session) -> None:
    """Writes the study as a file, here and beside its runs, with the code of the person's own that it names.

    What stands against it costs the file alone.
    """
    beside = path.with_name(f".{path.name}")
    try:
        beside.write_text(study.as_file, encoding="utf-8")
        beside.replace(path)
        for name, text in study.own.files.items():
            (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
            (path.parent / name).write_text(text, encoding="utf-8")
    except OSError as error:
        session.board.line(f"no {path.name}: {one_line(error)}")
    else:
        session.writer.keep(path)


def show(
    name: str, locations: Locations, out: Console, writer: MLflowWriter | None = None, brief: bool = False
) -> None:
    """Prints the study's table from MLflow, and writes the report beside its pictures.

    Args:
        brief: leaves the table to the report.
    """
    found = recorded(name, locations, (trial.variant for trial in writer.study.trials) if writer else ())
    show_recorded(found, locations, out, writer, brief)


def show_recorded(
    found: Recorded, locations: Locations, out: Console, writer: MLflowWriter | None = None, brief: bool = False
) -> None:
    """As `show`, of figures that have been read."""
    from results import report
    from results.breakdowns import miou_by_block_and_timestep
    from results.console import console_table
    from results.effects import effects_table
    from results.effects_shown import console_effects, markdown_effects
    from results.formatting import joined
    from results.markdown import markdown_table

    name, summary, trials = found.study, found.summary, found.trials
    folder = locations.study(name)
    effects = effects_table(trials)
    overview = _overview(miou_by_block_and_timestep(trials), summary, effects, folder)
    written = report.write(summary, trials, folder, study=name, overview=overview)
    if writer:
        writer.describe(joined(markdown_table(summary, trials), markdown_effects(effects), by="\n"))
        writer.summarise(summary, written)
    out.print()
    if not brief:
        out.print(console_table(summary, trials, width=out.width))
        if not effects.empty:
            out.print("", console_effects(effects), sep="\n")
    page = next(path for path in written if path.suffix == ".html")
    out.print(f"report    {page}", soft_wrap=True)
    out.print(f"pictures  {folder / 'pictures'}", soft_wrap=True)
    if (file := locations.study_file(name)).exists():
        out.print(f"study     {file}", soft_wrap=True)
    out.print(f"MLflow    {open_command(locations.tracking_uri)}", soft_wrap=True)
    if writer:
        root = (
            locations.tracking_uri.rstrip("/") if locations.tracking_uri.startswith("http") else "http://127.0.0.1:5000"
        )
        out.print(f"          then {root}/{writer.page}", soft_wrap=True)


def _overview(cells: pd.DataFrame, summary: pd.DataFrame, effects: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """The pictures of the whole study that the page shows: caption -> file; the heat map is there as a table."""
    if cells.empty and effects.empty:
        return {}
    from results import effects_plot, plots

    drawn, captions = {}, {"effects": "effects of the components"}
    if not cells.empty:
        whole = summary.loc[(summary["variant"] == "baseline") & (summary["metric"] == "miou"), "mean"]
        drawn["heat_map"] = plots.heat_map(cells, float(whole.iloc[0]))
    if not effects.empty:
        drawn["effects"] = effects_plot.effects(effects)
    paths = save_pictures(drawn, folder / "pictures")
    return {captions[name]: path for name, path in paths.items() if name in captions}


def open_command(tracking_uri: str) -> str:
    """What to type to see the study in MLflow."""
    if tracking_uri.startswith("http"):
        return f"open {tracking_uri}"
    mlflow = Path(sys.executable).parent / "mlflow"
    here = mlflow.relative_to(Path.cwd()) if mlflow.is_relative_to(Path.cwd()) else mlflow
    return f"{shlex.quote(str(here))} ui --backend-store-uri {shlex.quote(tracking_uri)}"


def pictures_of(folder: Path, trials: Iterable[tuple[str, int]]) -> dict[str, dict[str, Path]]:
    """The pictures that are there: variant -> caption -> file."""
    found: dict[str, dict[str, Path]] = {}
    for variant, seed in trials:
        for kind in KINDS:
            path = folder / "pictures" / f"{variant}-seed{seed}" / f"{kind}.png"
            if path.exists():
                found.setdefault(variant, {})[f"{kind}, seed {seed}"] = path
    return found
