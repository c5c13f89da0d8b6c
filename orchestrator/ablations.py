"""A study from its plan to its table: what `python -m orchestrator.run ablations` does once its words are read."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from orchestrator.cluster import set_environment, start_ray, stop_ray
from orchestrator.devices import Resources, cpus, gpus
from orchestrator.pictures import KINDS, figures
from orchestrator.place import Place
from orchestrator.plan import Study, Trial
from orchestrator.progress import Board, open_log
from orchestrator.screen import console
from orchestrator.tracking import Tracking, final_metrics, save_pictures

OK, FAILED, INTERRUPTED = 0, 1, 130


def run(study: Study, place: Place, resources: Resources) -> int:
    """The exit code of the study: 0 if every trial ended well, 1 if one failed, 130 if the person stopped it."""
    folder = place.study(study.name)
    out = console()
    with open_log(folder) as log:
        board = Board(study.trials, log)
        tracking = Tracking(place.tracking_uri, study, place.storage / "mlflow-artifacts")
        session = Session(study, tracking, board, folder)
        board.line(f"study {study.name}: {session.summary(tracking.finished_keys(), place)}")
        interrupted = session.run(place, resources)
        tracking.flush()
        outcome = INTERRUPTED if interrupted else OK if session.all_done else FAILED
        show(study.name, place, out, tracking)
        tracking.close()
        for error in tracking.errors:
            board.line(error)
        return outcome if not tracking.errors else outcome or FAILED


class Session:
    """One run of the command: turns what the trials say into what is shown and recorded."""

    def __init__(self, study: Study, tracking: Tracking, board: Board, folder: Path) -> None:
        self.study, self.tracking, self.board, self.folder = study, tracking, board, folder
        self.results: dict[str, Mapping[str, Any]] = {}
        self.failures: dict[str, str] = {}
        self.to_run: list[Trial] = list(study.trials)

    def summary(self, finished: set[str], place: Place) -> str:
        """What is already there, in one line; what is done is not run again."""
        self.to_run = [t for t in self.study.trials if t.key not in finished or not _stored(t, place.store)]
        done = len(self.study.trials) - len(self.to_run)
        begun = sum(any(_published(place.store, *s) for s in t.stages.items()) for t in self.to_run)
        for trial in self.study.trials:
            if trial not in self.to_run:
                self.results[trial.name] = {}
                self.board.ended(trial, "done", "in the store")
        fresh = len(self.to_run) - begun
        return f"{len(self.study.trials)} trials: {done} done, {begun} partly in the store, {fresh} to run"

    @property
    def all_done(self) -> bool:
        """Whether every trial of the study has ended well."""
        return len(self.results) == len(self.study.trials)

    def run(self, place: Place, resources: Resources) -> bool:
        """Runs what is missing; whether the person stopped it."""
        if not self.to_run:
            return False
        set_environment()
        from orchestrator import schedule  # only now: it imports Ray

        events = schedule.Events(self.started, self.recorded, self.failed)
        before = signal.signal(signal.SIGTERM, _as_interrupt)
        interrupted = False
        try:
            with self.board:
                start_ray(cpus(), len(gpus()) if resources.gpus else 0)
                schedule.run(self.to_run, str(place.store.resolve()), resources, events, self.folder)
        except KeyboardInterrupt:
            interrupted = True
            # A second Ctrl-C must not leave runs open or processes behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.board.line("stopping; the same command goes on from here")
        finally:
            stop_ray()
            signal.signal(signal.SIGTERM, before)
        for trial in self.to_run:
            if trial.name not in self.results and trial.name not in self.failures:
                self._unfinished(trial, interrupted)
        return interrupted

    def started(self, trial: Trial) -> None:
        """The trial has got its worker."""
        self.tracking.start(trial)
        self.board.started(trial)

    def recorded(self, trial: Trial, record: Mapping[str, Any]) -> None:
        """The trial has sent a record."""
        if record["result"]:
            self._finished(trial, record["result"])
            return
        if record["metrics"]:
            self.tracking.log(trial, record["metrics"], record["step"])
        self.board.advanced(trial, record["stage"], record["step"], record["steps"], record["metrics"])

    def failed(self, trial: Trial, error: str) -> None:
        """The trial has failed for good."""
        self.failures[trial.name] = error
        self.tracking.fail(trial, error)
        self.board.ended(trial, "FAILED", error)

    def _finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        pictures = save_pictures(figures(result["artefacts"]), self.folder / "pictures" / trial.name)
        self.results[trial.name] = result
        self.tracking.finish(trial, result, pictures)
        shown = {k: v for k, v in final_metrics(trial, result).items() if k in ("fid_digits", "miou")}
        self.board.ended(trial, "done", ", ".join(f"{name} {value:.4g}" for name, value in shown.items()))

    def _unfinished(self, trial: Trial, interrupted: bool) -> None:
        if not interrupted:
            self.failed(trial, "the worker ended without a result")
        elif self.board.states[trial.name].started is not None:
            self.tracking.kill(trial)
            self.board.ended(trial, "stopped", "interrupted")


def show(name: str, place: Place, out: Console, tracking: Tracking | None = None) -> None:
    """Prints the study's table from MLflow, and writes the report beside its pictures."""
    from results import report, table

    folder = place.study(name)
    trials = table.load_trials(place.tracking_uri, name)
    summary = table.summarise(trials, table.present_metrics(trials))
    shown = zip(trials["variant"], trials["seed"], strict=True)
    written = report.write(summary, trials, folder, _pictures(folder, shown), study=name)
    if tracking:
        tracking.describe(report.markdown_table(summary, trials))
    out.print()
    out.print(report.console_table(summary, trials, width=out.width))
    page = next(path for path in written if path.suffix == ".html")
    out.print(f"report    {page}", soft_wrap=True)
    out.print(f"pictures  {folder / 'pictures'}", soft_wrap=True)
    out.print(f"MLflow    {open_command(place.tracking_uri)}", soft_wrap=True)
    if tracking:
        root = place.tracking_uri.rstrip("/") if place.tracking_uri.startswith("http") else "http://127.0.0.1:5000"
        out.print(f"          then {root}/{tracking.page}", soft_wrap=True)


def open_command(tracking_uri: str) -> str:
    """What to type to see the study in MLflow."""
    if tracking_uri.startswith("http"):
        return f"open {tracking_uri}"
    mlflow = Path(sys.executable).parent / "mlflow"
    here = mlflow.relative_to(Path.cwd()) if mlflow.is_relative_to(Path.cwd()) else mlflow
    return f"{here} ui --backend-store-uri {tracking_uri}"


def _pictures(folder: Path, trials: Iterable[tuple[str, int]]) -> dict[str, dict[str, Path]]:
    """The pictures that are there: variant -> caption -> file."""
    found: dict[str, dict[str, Path]] = {}
    for variant, seed in trials:
        for kind in KINDS:
            path = folder / "pictures" / f"{variant}-seed{seed}" / f"{kind}.png"
            if path.exists():
                found.setdefault(variant, {})[f"{kind}, seed {seed}"] = path
    return found


def _published(store: Path, stage: str, key: str) -> bool:
    return (store / stage / key / "manifest.json").exists()


def _stored(trial: Trial, store: Path) -> bool:
    return all(_published(store, stage, key) for stage, key in trial.stages.items())


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
