"""What the person sees while a study runs: a live table on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.console import console
from orchestrator.planning.plan import Trial
from results.formatting import duration
from trainables.stages import STAGES

LINE_INTERVAL_S = 15.0  # between plain lines about a running trial
FRAME_LINES = 6  # of the live table: title, head, borders and what is not shown
MATTERS = ("running", "FAILED", "stopped", "waiting", "done")  # most, where the screen has no room for all
STYLES = {"waiting": "dim", "running": "cyan", "done": "green", "FAILED": "bold red", "stopped": "yellow"}
LABELS = {stage.NAME: stage.LABEL for stage in STAGES}


@dataclass
class State:
    """One trial as far as the screen knows it."""

    trial: Trial
    status: str = "waiting"
    stage: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    started: float | None = None
    ended: float | None = None
    note: str = ""
    last_line: float = field(default=0.0)

    @property
    def fraction(self) -> float:
        """The part of the trial's work that is done, by its count of operations."""
        if self.status == "done":
            return 1.0
        total, done = sum(self.trial.flops.values()), 0.0
        for stage, flops in self.trial.flops.items():
            if stage == self.stage:
                done += flops * min(1.0, self.step / self.steps) if self.steps else 0.0
                break
            done += flops
        return done / total if total and self.stage else 0.0

    def elapsed_s(self, now: float) -> float:
        """Seconds since the trial began."""
        return (self.ended or now) - self.started if self.started else 0.0

    def left_s(self, now: float) -> float | None:
        """Seconds that the trial still needs, once there is enough to tell."""
        if self.status != "running" or self.fraction < 0.02:
            return None
        return self.elapsed_s(now) * (1 - self.fraction) / self.fraction


class Board:
    """The study's progress. Every method may be called from any thread; `with board:` shows it.

    Args:
        trials: all of the study's.
        log: a file that gets the plain lines in any case.
        clock: seconds that only rise.
    """

    def __init__(self, trials: Sequence[Trial], log: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.states = {trial.name: State(trial) for trial in trials}
        self.console, self._log, self._clock, self._began = console(), log, clock, clock()
        self._lock = threading.RLock()
        self._live: Live | None = None

    def __enter__(self) -> Board:
        # A terminal that cannot draw (TERM=dumb) would show neither the table nor a line.
        if self.console.is_interactive:
            self._live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def add(self, trial: Trial) -> None:
        """Takes in a trial that was not known at the start."""
        with self._lock:
            self.states[trial.name] = State(trial)

    def started(self, trial: Trial, attempt: int = 1) -> None:
        """The trial has got its worker, for the first time or after it lost one."""
        with self._lock:
            state = self.states[trial.name]
            state.status, state.started = "running", state.started or self._clock()
            again = f"its worker was lost, attempt {attempt}" if attempt > 1 else f"started ({trial.delta})"
            self.line(f"{trial.name}: {again}")

    def advanced(self, trial: Trial, stage: str, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """The trial has come to `step` of `steps` of a stage."""
        with self._lock:
            state, now = self.states[trial.name], self._clock()
            state.loss = state.loss if state.stage == stage else None  # a stage has a loss of its own
            state.stage, state.step, state.steps = stage, step, steps
            state.loss = metrics.get("loss", metrics.get("classifier_loss", state.loss))
            if now - state.last_line > LINE_INTERVAL_S:
                state.last_line = now
                self.line(f"{trial.name}: {self._said(state, now)}")

    def ended(self, trial: Trial, status: str, note: str) -> None:
        """The trial is done, FAILED or stopped; `note` says with what."""
        with self._lock:
            state = self.states[trial.name]
            state.status, state.note, state.ended = status, note, self._clock()
            took = f" after {duration(state.elapsed_s(self._clock()))}" if state.started else ""
            self.line(f"{trial.name}: {status}{took}: {note}")

    def line(self, text: str) -> None:
        """A plain line to the log, and to the screen where that is no terminal."""
        stamp = duration(self._clock() - self._began)
        with contextlib.suppress(OSError):  # a full disk must not end the study
            self._log.write(f"[{stamp:>9}] {text}\n")
            self._log.flush()
        if self._live is None:
            print(f"[{stamp:>9}] {text}", flush=True)

    def table(self) -> Table:
        """The live table."""
        with self._lock:
            now = self._clock()
            done = sum(state.status in ("done", "FAILED") for state in self.states.values())
            table = Table(
                title=f"{done} of {len(self.states)} trials, {duration(now - self._began)}", title_justify="left"
            )
            table.add_column("trial", no_wrap=True, min_width=max(map(len, self.states), default=0))
            for heading in ("status", "stage", "", "loss", "time", "left"):
                # A line a trial, as `_shown` counts them.
                table.add_column(
                    heading, justify="right" if heading in ("loss", "time", "left") else "left", no_wrap=True
                )
            shown, left_out = self._shown()
            for state in shown:
                table.add_row(*self._cells(state, now), style="dim" if state.status == "waiting" else "")
            if left_out:
                table.caption = "not shown: " + ", ".join(f"{count} {status}" for status, count in left_out.items())
            return table

    def _shown(self) -> tuple[list[State], Counter[str]]:
        """The trials that the screen has room for, in the plan's order, and how many others there are by status."""
        room = max(1, self.console.size.height - FRAME_LINES)
        by_weight = sorted(self.states.values(), key=lambda s: (MATTERS.index(s.status), -(s.ended or 0.0)))
        chosen = {state.trial.name for state in by_weight[:room]}
        return [s for name, s in self.states.items() if name in chosen], Counter(s.status for s in by_weight[room:])

    def _cells(self, state: State, now: float) -> list[str | Text | ProgressBar]:
        running, left = state.status == "running", state.left_s(now)
        stage = LABELS.get(state.stage, state.stage or "starting") if running else state.note
        return [
            state.trial.name,
            Text(state.status, STYLES[state.status]),
            Text(stage, overflow="ellipsis", no_wrap=True),
            ProgressBar(1.0, state.fraction, width=12) if running else "",
            f"{state.loss:.4f}" if running and state.loss is not None else "",
            duration(state.elapsed_s(now)) if state.started else "",
            duration(left) if left is not None else "",
        ]

    def _said(self, state: State, now: float) -> str:
        left = state.left_s(now)
        steps = f" {state.step}/{state.steps}" if state.steps else ""
        parts = [f"{LABELS.get(state.stage, state.stage)}{steps}"]
        parts += [f"loss {state.loss:.4f}"] if state.loss is not None else []
        parts += [f"about {duration(left)} left"] if left is not None else []
        return ", ".join(parts)


def open_log(folder: Path) -> TextIO:
    """The study's log, opened to append: an earlier session's lines stay."""
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "log.txt").open("a", encoding="utf-8")
