"""One run of a study's command: what its trials say, turned into what is shown and recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from orchestrator import signals
from orchestrator.cluster.connection import demand, start_ray, stop_ray
from orchestrator.cluster.resources import Resources
from orchestrator.errors import UsageError, one_line
from orchestrator.planning.plan import Study, Trial
from orchestrator.program import PROGRAM
from orchestrator.storage.earlier_code import EarlierCode
from orchestrator.storage.locations import Locations
from orchestrator.study.progress import Board
from orchestrator.study.session_config import SCRATCH, Events, SessionConfig
from orchestrator.tracking.backend import reason, without_password
from orchestrator.tracking.pictures import figures, save_pictures, shown
from orchestrator.tracking.writer import FLUSH_LIMIT_S, MLflowWriter
from results.shown import FILE
from trainables.stages import BY_NAME
from trainables.store import Store, checkpoint_folder

DRAWN_OF = "trial_key"  # the file beside a trial's pictures
CHOSEN_BY = "validation_miou"  # what a search chooses by; every trial that has it says it
OK, FAILED = 0, 1
BRIEF_S = 5.0  # that the end of a study waits for MLflow without a word


class Session:
    """One run of the command: turns what the trials say into what is shown and recorded."""

    def __init__(self, study: Study, locations: Locations, log: TextIO) -> None:
        self.study, self.locations = study, locations
        self.folder, self.store = locations.study(study.name), Store(locations.store)
        for left in self.folder.glob(f"{SCRATCH}*"):  # of a driver that was killed: only one runs a study
            shutil.rmtree(left, ignore_errors=True)
        self.writer, self.board = _writer(study, locations), Board(study.trials, log)
        self.trials = list(study.trials)
        self.results: dict[str, Mapping[str, Any]] = {}
        self.failures: dict[str, str] = {}
        self.lasting: list[str] = []  # of those that failed, those that would fail again
        self.to_run: list[Trial] = list(study.trials)
        self._demand: Callable[[int], None] = _no_demand

    def summary(self) -> str:
        """What is already there, in one line; what is done is not run again."""
        finished = self.writer.finished()
        self.to_run = [t for t in self.trials if (t.row, t.key) not in finished or not self._stored(t)]
        for trial in self.trials:
            if trial not in self.to_run:
                self.results[trial.name] = {}
                if trial.kind != "probe":
                    self._draw_missing(trial)
                self.board.ended(trial, "done", "in the store")
        made = [trial for trial in self.to_run if self._stored(trial)]
        begun = [where for trial in self.to_run if (where := self._resumes(trial))]
        parts = [f"{len(self.results)} done"] if self.results else []
        if begun:
            parts.append(f"1 {begun[0]}" if len(begun) == 1 else f"{len(begun)} resume (the first {begun[0]})")
        if made:
            parts.append(f"{len(made)} in the store, to be recorded")
        parts.append(f"{len(self.to_run) - len(begun) - len(made)} to run")
        return f"{len(self.trials)} trials: {', '.join(parts)}"

    def code_told(self) -> Iterator[str]:
        """A line for each change of code that makes trials run again, or that is accepted."""
        yield from EarlierCode(self.store, self.study.about).told((t.config, t.stages) for t in self.to_run)
        stages = sorted({stage for trial in self.trials for stage in self.study.accepted(trial.config)})
        if stages:
            labels = ", ".join(BY_NAME[stage].LABEL for stage in stages)
            yield f"--accept-code: what other code made is used as it is, of {labels}"

    @property
    def all_done(self) -> bool:
        """Whether every trial of the study has ended well."""
        return len(self.results) == len(self.trials)

    def run(self, session_config: SessionConfig, address: str) -> bool:
        """Runs what is missing; whether the person stopped it."""
        if session_config.gpu_hour_price:
            self.writer.price(session_config.gpu_hour_price)
        if not self.to_run:
            return False
        from orchestrator.study import schedule  # only now: it imports Ray

        run = partial(schedule.run, makers_first(self.to_run), session_config, self.events, self.folder)
        return self.scheduled(run, session_config.resources, address)

    def scheduled(self, run: Callable[[], None], resources: Resources, address: str) -> bool:
        """Calls `run` with Ray at hand and the board on the screen; whether the person stopped it.

        Raises:
            UsageError: a node of the cluster that cannot do its part, and why.
        """
        interrupted = False
        try:
            with self.board:
                signals.check()
                start_ray(address, resources)
                signals.listen()  # again: Ray sets a handler of its own
                self._refuse_unfit(resources)
                self._demand = partial(demand, address, resources)
                self._demand(len(self.to_run))
                run()
        except KeyboardInterrupt:
            interrupted = True
            signals.ignore()  # a second Ctrl-C must not leave runs open or processes behind
            self.board.line("stopping; the same command goes on from here")
        finally:
            self._demand(0)
            self._demand = _no_demand
            stop_ray()
        for trial in self.to_run:
            if trial.name not in self.results and trial.name not in self.failures:
                self._unfinished(trial, interrupted)
        return interrupted

    def _refuse_unfit(self, resources: Resources) -> None:
        from orchestrator.preflight.check import look  # only now: it imports Ray

        unfit = [f"{f.node}, {f.what}: {f.detail}" for f in look(self.study, self.locations, resources) if not f.ok]
        if unfit:
            raise UsageError("\n  ".join(["the Ray cluster cannot run this study:", *unfit]))

    def add(self, trial: Trial) -> None:
        """Takes in a trial that the plan did not know: a point of a search."""
        self.trials.append(trial)
        self.to_run.append(trial)
        self.board.add(trial)

    @property
    def _unended(self) -> int:
        return sum(t.name not in self.results and t.name not in self.failures for t in self.to_run)

    @property
    def events(self) -> Events:
        """What the scheduler tells this session."""
        return Events(self.started, self.recorded, self.failed)

    def close(self, interrupted: bool, show: Callable[[MLflowWriter], None]) -> int:
        """The exit code, once every record is written and `show` has shown the study."""
        signals.ignore()  # every trial has ended; what is left takes moments
        taken = self.writer.flush(BRIEF_S) or self._waited_for_mlflow()
        try:
            shown = taken and self._shown(show)
        finally:
            self.writer.close(FLUSH_LIMIT_S if taken else 0.0)
        for line in [*self.writer.errors, *self.writer.remarks]:
            self.board.line(line)
        if not taken:
            self.board.line(
                "no table: MLflow lacks records; what is done is in the store, and the same command sends it"
            )
        if not self.all_done:
            self.board.line(self._left())
        if interrupted:
            return signals.INTERRUPTED
        return OK if self.all_done and shown and not self.writer.errors else FAILED

    def _shown(self, show: Callable[[MLflowWriter], None]) -> bool:
        """Whether the study could be shown; a full disk or a server that is away costs its report alone."""
        try:
            show(self.writer)
        except (OSError, UsageError) as error:
            command = f"{PROGRAM} report {self.study.name}"
            self.board.line(f"no report: {one_line(error)}; once that is mended, `{command}` makes it")
            return False
        return True

    def _left(self) -> str:
        done = f"{len(self.results)} of {len(self.trials)} trials are done"
        again = f"{', '.join(self.lasting)} would fail again the same way: change what the error says"
        if not self.lasting:
            return f"{done}; the same command goes on"
        others = len(self.trials) - len(self.results) - len(self.lasting)
        return f"{done}; the same command goes on with {others}; {again}" if others else f"{done}; {again}"

    def _waited_for_mlflow(self) -> bool:
        """Whether MLflow has taken every record after all."""
        self.board.line(f"waiting for MLflow, {FLUSH_LIMIT_S:g} s at most: {self.writer.trouble or 'it is slow'}")
        return self.writer.flush(FLUSH_LIMIT_S)

    def started(self, trial: Trial, attempt: int) -> None:
        """The trial has got its worker."""
        self.writer.start(trial)
        self.board.started(trial, attempt)

    def recorded(self, trial: Trial, record: Mapping[str, Any]) -> None:
        """The trial has sent a record."""
        if record["result"]:
            self._finished(trial, record["result"])
            return
        self.writer.log(trial, [*record["history"], (record["step"], record["metrics"])])
        if record["note"]:
            self.board.line(f"{trial.name}: {record['note']}")
        self.board.advanced(trial, record["stage"], record["step"], record["steps"], record["metrics"])

    def failed(self, trial: Trial, error: str, lasting: bool) -> None:
        """The trial has failed for good; `lasting`: it would fail the same way again."""
        self.failures[trial.name] = error
        self.lasting += [trial.name] if lasting else []
        self._demand(self._unended)
        self.writer.fail(trial, error)
        self.board.ended(trial, "FAILED", error)

    def _finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        pictures = self._draw(trial, result["artefacts"])
        self.results[trial.name] = result
        self._demand(self._unended)
        self.writer.finish(trial, result, pictures)
        named = {name for stage in trial.stages for name in BY_NAME[stage].metrics(trial.config)} | {CHOSEN_BY}
        shown = [f"{name} {value:.4g}" for name, value in result["metrics"].items() if name in named]
        self.board.ended(trial, "done", ", ".join(shown))

    def _pictures(self, trial: Trial) -> Path:
        return self.folder / "pictures" / trial.name

    def _draw_missing(self, trial: Trial) -> None:
        """Draws what is not there of the trial's pictures, or is another one's under its name."""
        folder = self._pictures(trial)
        if _drawn_of(folder) != trial.key:
            self._draw(trial, trial.stages)
        elif not (folder / FILE).exists():  # an earlier version drew them
            self._show(trial, trial.stages)

    def _show(self, trial: Trial, artefacts: Mapping[str, str]) -> None:
        """Leaves what the study's page shows of the trial; without it the page says so."""
        try:
            shown(self.store, artefacts).save(self._pictures(trial) / FILE)
        except Exception as error:  # as for its pictures
            self.board.line(f"{trial.name}: nothing of it on the page ({one_line(error)})")

    def _draw(self, trial: Trial, artefacts: Mapping[str, str]) -> dict[str, Path]:
        """The trial's pictures as files, with a note of whose they are."""
        if trial.kind == "probe":
            return {}
        folder = self._pictures(trial)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            pictures = save_pictures(figures(self.store, artefacts), folder)
            (folder / DRAWN_OF).write_text(trial.key)
        except Exception as error:  # a full disk, or whatever drawing raises: the trial's figures do not hang on it
            self.board.line(f"{trial.name}: no pictures ({one_line(error)})")
            return {}
        self._show(trial, artefacts)
        return pictures

    def _unfinished(self, trial: Trial, interrupted: bool) -> None:
        if not interrupted:
            self.failed(trial, "the worker ended without a result", lasting=False)
        elif self.board.states[trial.name].started is not None:
            self.writer.kill(trial)
            self.board.ended(trial, "stopped", "interrupted")

    def _stored(self, trial: Trial) -> bool:
        return all(self.store.has(stage, key) for stage, key in trial.stages.items())

    def _resumes(self, trial: Trial) -> str:
        """Where the trial goes on, in words; "" where it has not begun."""
        for stage, key in trial.stages.items():
            if self.store.has(stage, key):
                continue
            checkpoints = self.store.keys(checkpoint_folder(stage, key))
            if checkpoints:
                total = f" of {trial.config.training.train_steps:,}" if stage == "ddpm" else ""
                return f"resumes at {stage} step {int(checkpoints[-1]):,}{total}"
        return ""


def _drawn_of(folder: Path) -> str:
    """The key of the trial whose pictures lie in the folder; "" where nothing says so."""
    try:
        return (folder / DRAWN_OF).read_text()
    except OSError:
        return ""


def _no_demand(trials: int) -> None:
    """Nobody is asked before Ray runs and after."""


def makers_first(trials: Sequence[Trial]) -> list[Trial]:
    """The trials in an order in which those that train a DDPM of their own come first, and nobody waits for another."""
    seen: set[str] = set()
    makers: list[Trial] = []
    others: list[Trial] = []
    for trial in trials:
        key = trial.stages.get("ddpm")
        (others if key is None or key in seen else makers).append(trial)
        seen |= {key} if key else set()
    return makers + others


def _writer(study: Study, locations: Locations) -> MLflowWriter:
    try:
        return MLflowWriter(locations.tracking_uri, study, locations.artifacts)
    except UsageError:
        raise
    except Exception as error:  # each database has errors of its own
        uri = without_password(locations.tracking_uri)
        raise UsageError(f"--tracking-uri: MLflow cannot use {uri} ({reason(error)})") from None
