"""A study from its plan to its table: what `python -m orchestrator.run ablations` does once its words are read."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator import interrupts
from orchestrator.cluster import set_environment, start_ray, stop_ray
from orchestrator.devices import Limits, Resources
from orchestrator.errors import UsageError
from orchestrator.pictures import KINDS, figures
from orchestrator.place import Place
from orchestrator.plan import Study, Trial
from orchestrator.progress import Board, open_log
from orchestrator.registry import Registry
from orchestrator.screen import console
from orchestrator.tracking import Tracking, final_metrics, save_pictures
from trainables.claims import Claims
from trainables.stages import checkpoint_folder
from trainables.store import Store

OK, FAILED, INTERRUPTED = 0, 1, 130


def run(
    study: Study, place: Place, resources: Resources, limits: Limits, fresh: bool = False, address: str = "local"
) -> int:
    """The exit code of the study: 0 if every trial ended well, 1 if one failed, 130 if the person stopped it.

    Args:
        fresh: whether to begin anew beside what is in the store; that stays.
        address: of the Ray cluster; "local" starts one here.

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
        if generation:
            trials = (replace(trial, key=f"{trial.key}.{generation}") for trial in study.trials)
            study = replace(study, trials=tuple(trials))
        registry.enter(study.name, generation, study.trials)
        return _run(study, replace(place, store=registry.root_of(generation)), resources, limits, address)


def _run(study: Study, place: Place, resources: Resources, limits: Limits, address: str) -> int:
    folder = place.study(study.name)
    with open_log(folder) as log:
        board = Board(study.trials, log)
        tracking = _tracking(study, place)
        session = Session(study, tracking, board, folder, Store(place.store))
        board.line(f"study {study.name}: {session.summary(tracking.finished_keys())}")
        interrupted = session.run(place.store, resources, limits, address)
        interrupts.ignore()  # every trial has ended; what is left takes moments
        tracking.flush()
        outcome = INTERRUPTED if interrupted else OK if session.all_done else FAILED
        show(study.name, place, console(), tracking)
        tracking.close()
        for error in tracking.errors:
            board.line(error)
        return outcome if not tracking.errors else outcome or FAILED


def _tracking(study: Study, place: Place) -> Tracking:
    try:
        return Tracking(place.tracking_uri, study, place.storage / "mlflow-artifacts")
    except UsageError:
        raise
    except Exception as error:  # each database has errors of its own
        last = [line for line in str(error).splitlines() if line.strip()][:1]
        reason = f"{type(error).__name__}: {''.join(last)}"
        raise UsageError(f"--tracking-uri: MLflow cannot use {place.tracking_uri} ({reason})") from None


class Session:
    """One run of the command: turns what the trials say into what is shown and recorded."""

    def __init__(self, study: Study, tracking: Tracking, board: Board, folder: Path, store: Store) -> None:
        self.study, self.tracking, self.board, self.folder, self.store = study, tracking, board, folder, store
        self.results: dict[str, Mapping[str, Any]] = {}
        self.failures: dict[str, str] = {}
        self.to_run: list[Trial] = list(study.trials)

    def summary(self, finished: set[str]) -> str:
        """What is already there, in one line; what is done is not run again."""
        self.to_run = [trial for trial in self.study.trials if trial.key not in finished or not self._stored(trial)]
        for trial in self.study.trials:
            if trial not in self.to_run:
                self.results[trial.name] = {}
                self.board.ended(trial, "done", "in the store")
        begun = [where for trial in self.to_run if (where := self._resumes(trial))]
        parts = [f"{len(self.results)} done"] if self.results else []
        parts += (
            [f"1 {begun[0]}"] if len(begun) == 1 else [f"{len(begun)} resume (the first {begun[0]})"] if begun else []
        )
        parts += [f"{len(self.to_run) - len(begun)} to run"]
        return f"{len(self.study.trials)} trials: {', '.join(parts)}"

    @property
    def all_done(self) -> bool:
        """Whether every trial of the study has ended well."""
        return len(self.results) == len(self.study.trials)

    def run(self, store: str, resources: Resources, limits: Limits, address: str) -> bool:
        """Runs what is missing; whether the person stopped it."""
        if not self.to_run:
            return False
        set_environment()
        from orchestrator import schedule  # only now: it imports Ray

        events = schedule.Events(self.started, self.recorded, self.failed)
        interrupted = False
        try:
            with self.board:
                interrupts.check()
                start_ray(address, resources)
                interrupts.listen()  # again: Ray sets a handler of its own
                schedule.run(self.to_run, store, resources, limits, events, self.folder)
        except KeyboardInterrupt:
            interrupted = True
            interrupts.ignore()  # a second Ctrl-C must not leave runs open or processes behind
            self.board.line("stopping; the same command goes on from here")
        finally:
            stop_ray()
        for trial in self.to_run:
            if trial.name not in self.results and trial.name not in self.failures:
                self._unfinished(trial, interrupted)
        return interrupted

    def started(self, trial: Trial, attempt: int) -> None:
        """The trial has got its worker."""
        self.tracking.start(trial)
        self.board.started(trial, attempt)

    def recorded(self, trial: Trial, record: Mapping[str, Any]) -> None:
        """The trial has sent a record."""
        if record["result"]:
            self._finished(trial, record["result"])
            return
        for step, metrics in [*record["history"], (record["step"], record["metrics"])]:
            if metrics:
                self.tracking.log(trial, metrics, step)
        if record["note"]:
            self.board.line(f"{trial.name}: {record['note']}")
        self.board.advanced(trial, record["stage"], record["step"], record["steps"], record["metrics"])

    def failed(self, trial: Trial, error: str) -> None:
        """The trial has failed for good."""
        self.failures[trial.name] = error
        self.tracking.fail(trial, error)
        self.board.ended(trial, "FAILED", error)

    def _finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        pictures = save_pictures(figures(self.store, result["artefacts"]), self.folder / "pictures" / trial.name)
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

    def _stored(self, trial: Trial) -> bool:
        return all(self.store.has(stage, key) for stage, key in trial.stages.items())

    def _resumes(self, trial: Trial) -> str:
        """Where the trial goes on, in words; "" where it has not begun."""
        for number, (stage, key) in enumerate(trial.stages.items()):
            if self.store.has(stage, key):
                continue
            checkpoints = self.store.keys(checkpoint_folder(stage, key))
            if checkpoints:
                total = f" of {trial.config.training.train_steps:,}" if stage == "ddpm" else ""
                return f"resumes at {stage} step {int(checkpoints[-1]):,}{total}"
            return f"resumes before {stage}" if number else ""
        return "resumes at its end"


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
