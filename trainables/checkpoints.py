"""Checkpoints of a stage in the making: the last two, written beside the work and whole or not at all.

    ROOT/checkpoints/STAGE-KEY/STEP/state.pt    tensors, numbers, texts, and lists and dicts of these

They are loaded with `weights_only=True`: a checkpoint never runs code.

The first one comes early, and what one costs says when the next is due: on machines that are often lost the work must
get on, and elsewhere it must not be held up.
"""

from __future__ import annotations

import io
import pickle
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from trainables.store import Store, away, checkpoint_folder

KEPT = 2
STATE = "state.pt"
WRITER = "checkpoint"  # the thread
FIRST_S = 10.0  # of work before the first one, and between two at least
SHARE = 0.01  # of the time that they may take, unless the interval asks for more of them

State = dict[str, Any]


class Checkpoints:
    """The checkpoints of one artefact.

    Args:
        store: where they are kept.
        stage: of the artefact.
        key: of the artefact.
        interval_s: seconds between two of them, at most.
    """

    _open: ClassVar[weakref.WeakSet[Checkpoints]] = weakref.WeakSet()
    _leaving: ClassVar[threading.Event] = threading.Event()

    def __init__(self, store: Store, stage: str, key: str, interval_s: float) -> None:
        self.store, self.interval_s = store, interval_s
        self.folder = checkpoint_folder(stage, key)
        self._began = self._last = time.monotonic()
        self._spent_before_s = self._cost_s = 0.0
        self._writer: threading.Thread | None = None
        self._saved_on_leaving = threading.Event()
        self._open.add(self)

    @property
    def spent_s(self) -> float:
        """Seconds of work so far, with what led to the checkpoint that the work went on from."""
        return self._spent_before_s + time.monotonic() - self._began

    def latest(self) -> State | None:
        """The newest one that is whole, its tensors on the CPU; None without one."""
        for step in reversed(self.store.keys(self.folder)):
            found = self.store.find(self.folder, step)
            if found is None:
                continue
            try:
                state: State = torch.load(found / STATE, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
                self.store.set_aside(self.folder, step, str(error).splitlines()[0])
                continue
            self._spent_before_s = float(found.facts.get("spent_s", 0.0))
            self._began = time.monotonic()
            return state
        return None

    @property
    def due_s(self) -> float:
        """Seconds from the last one to the next.

        Failures M seconds apart lose least where it is sqrt(2 cost M). M is not known: cost / SHARE is that for an M of
        1 / (2 SHARE) intervals.

        Source: Young 1974 (A first order approximation to the optimum checkpoint interval); Daly 2006.
        """
        return min(self.interval_s, max(FIRST_S, self._cost_s / SHARE))

    def save_now_and_then(self, step: int, state: Callable[[], State]) -> None:
        """Saves `state()` if one is due; the file is written while the work goes on.

        Args:
            step: where the work is; later steps sort after earlier ones.
            state: gives the state as copies that the work does not change.
        """
        leaving = self._leaving.is_set() and not self._saved_on_leaving.is_set()
        if time.monotonic() - self._last < self.due_s and not leaving:
            return
        began = time.monotonic()
        self.wait()
        self._writer = threading.Thread(target=self._write, args=(step, state(), self.spent_s, began), name=WRITER)
        self._writer.start()
        self._last = time.monotonic()
        if leaving:
            self.wait()
            self._saved_on_leaving.set()

    @classmethod
    def save_before_leaving(cls, patience_s: float) -> None:
        """Waits until all work of this process that has checkpoints has written one more, which it is asked for."""
        cls._leaving.set()
        deadline = time.monotonic() + patience_s
        for checkpoints in list(cls._open):
            checkpoints._saved_on_leaving.wait(max(0.0, deadline - time.monotonic()))

    def wait(self) -> None:
        """Waits for the one that is being written."""
        if self._writer is not None:
            self._writer.join()

    def clear(self) -> None:
        """Removes them: the artefact is there."""
        self.wait()
        self._open.discard(self)
        self.store.remove(self.folder)

    def _write(self, step: int, state: State, spent_s: float, began: float) -> None:
        try:
            with self.store.publish(self.folder, f"{step:012d}", {"spent_s": spent_s}) as folder:
                # By way of memory: torch's own file writer reports a full disk as something other than an OSError.
                buffer = io.BytesIO()
                torch.save(state, buffer)
                (folder / STATE).write_bytes(buffer.getbuffer())
            for old in self.store.keys(self.folder)[:-KEPT]:
                self.store.remove(self.folder, old)
            self._cost_s = time.monotonic() - began
        except away() as error:  # the work is worth more than its checkpoint
            warnings.warn(f"checkpoint {self.folder} at {step} was not written: {error}", stacklevel=2)


def on_cpu(value: Any) -> Any:
    """`value` with every tensor in it copied to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: on_cpu(part) for name, part in value.items()}
    return [on_cpu(part) for part in value] if isinstance(value, list | tuple) else value
