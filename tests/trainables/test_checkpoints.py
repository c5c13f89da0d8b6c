"""Checkpoints: which are kept, when one is due, and that one at a time is written."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import checkpoints as module
from trainables.checkpoints import FIRST_S, KEPT, SHARE, Checkpoints, on_cpu
from trainables.store import Store


class Slow(Store):
    """A store that takes its time to publish, and counts who is publishing."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.writing, self.most, self.written = 0, 0, list[str]()

    def _publish(self, folder: Path, path: str) -> None:
        self.writing += 1
        self.most = max(self.most, self.writing)
        time.sleep(0.1)
        super()._publish(folder, path)
        self.written.append(path.rpartition("/")[2])
        self.writing -= 1


def _saved(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.save_now_and_then(step, lambda step=step: {"step": step})


def test_one_checkpoint_is_written_at_a_time_and_in_their_order(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    checkpoints = Checkpoints(store, "ddpm", "key", 0.0)
    _saved(checkpoints, 1, 2, 3)
    checkpoints.wait()
    assert store.most == 1
    assert [int(step) for step in store.written] == [1, 2, 3]
    assert [int(step) for step in store.keys(checkpoints.folder)] == [2, 3]
    assert KEPT == 2
    assert checkpoints.latest() == {"step": 3}


def test_the_work_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    checkpoints = Checkpoints(store, "ddpm", "key", 0.0)
    _saved(checkpoints, 1)
    assert store.written == []
    checkpoints.wait()
    assert len(store.written) == 1


def test_none_comes_after_they_are_cleared(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    checkpoints = Checkpoints(store, "ddpm", "key", 0.0)
    _saved(checkpoints, 1)
    checkpoints.clear()
    assert len(store.written) == 1
    assert store.begun(checkpoints.folder) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "checkpoint"]


def test_the_state_is_asked_for_only_when_a_checkpoint_is_due(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Store(tmp_path), "ddpm", "key", 1e9)
    asked = []
    checkpoints.save_now_and_then(1, lambda: asked.append(1) or {})
    checkpoints.wait()
    assert asked == []
    assert checkpoints.latest() is None


def test_a_checkpoint_that_cannot_be_written_costs_a_warning_and_not_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store, folder: Path, path: str) -> None:
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(Store(tmp_path), "ddpm", "key", 0.0)
    monkeypatch.setattr(Store, "_publish", full)
    with pytest.warns(UserWarning, match=r"checkpoint .* at 1 was not written: .*No space left on device"):
        checkpoints._write(1, {}, 0.0, began=0.0)
    monkeypatch.undo()
    assert checkpoints.latest() is None


def test_what_is_on_the_cpu_for_a_checkpoint_is_a_copy_all_the_way_down() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    state: dict[str, Any] = {"deep": [{"tensor": parameter}, (1, "text", None)], "number": 2.5}
    copied = on_cpu(state)
    with torch.no_grad():
        parameter.zero_()
    tensor = copied["deep"][0]["tensor"]
    assert tensor.tolist() == [1.0, 1.0]
    assert not tensor.requires_grad
    assert (copied["deep"][1], copied["number"]) == ([1, "text", None], 2.5)


class Clock:
    """The seconds that the checkpoints see."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is asked to go in this test alone."""
    monkeypatch.setattr(Checkpoints, "_leaving", threading.Event())


def steps_saved(made: Checkpoints, clock: Clock, seconds: int, cost_s: float) -> list[int]:
    """When checkpoints are taken in so many seconds, looked for every second; each holds the work up for `cost_s`."""
    seen = []

    def state(at: int) -> dict:
        seen.append(at)
        clock.now += cost_s
        return {"weights": torch.zeros(3)}

    for second in range(1, seconds + 1):
        clock.now += 1
        made.save_now_and_then(second, lambda second=second: state(second))
        made.wait()
    return seen


def test_the_first_comes_early_and_what_costs_nothing_comes_as_often(clock: Clock, tmp_path: Path) -> None:
    saved = steps_saved(Checkpoints(Store(tmp_path), "ddpm", "key", 60), clock, 65, cost_s=0.0)
    assert FIRST_S == 10
    assert saved == [10, 20, 30, 40, 50, 60]


def test_costly_ones_take_their_share_of_the_time_and_no_more(clock: Clock, tmp_path: Path) -> None:
    saved = steps_saved(Checkpoints(Store(tmp_path), "ddpm", "key", 1e9), clock, 2000, cost_s=3.0)
    assert saved[0] == 10
    gaps = [b - a for a, b in pairwise(saved)]
    assert len(gaps) > 4
    assert all(gap == pytest.approx(3.0 / SHARE, abs=4) for gap in gaps)
    assert SHARE <= 0.02


@pytest.mark.parametrize(("interval_s", "saved"), [(4, [4, 8, 12]), (0, list(range(1, 13)))])
def test_the_interval_is_the_longest_that_is_waited(
    interval_s: float, saved: list[int], clock: Clock, tmp_path: Path
) -> None:
    assert steps_saved(Checkpoints(Store(tmp_path), "ddpm", "key", interval_s), clock, 12, cost_s=0.0) == saved
    costly = Checkpoints(Store(tmp_path), "ddpm", "other", 30)
    steps_saved(costly, clock, 20, cost_s=5.0)
    assert costly.due_s == 30


def test_work_that_is_asked_to_go_writes_one_more_first(leaving: None, tmp_path: Path) -> None:
    made, done, ended = Checkpoints(Store(tmp_path), "ddpm", "key", 1e9), [0], threading.Event()

    def work() -> None:
        while not ended.is_set():
            done[0] += 1
            made.save_now_and_then(done[0], lambda: {"step": done[0]})
            time.sleep(0.01)

    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.1)
    assert made.latest() is None
    asked_at = done[0]
    Checkpoints.save_before_leaving(patience_s=20)
    state = made.latest()  # it is there as soon as the call comes back
    ended.set()
    worker.join()
    assert state is not None
    assert state["step"] >= asked_at
    assert len(made.store.keys(made.folder)) == 1  # one, not one at every step from then on


def test_nobody_waits_for_work_that_is_done_or_says_nothing(leaving: None, tmp_path: Path) -> None:
    done, silent = (Checkpoints(Store(tmp_path), "ddpm", key, 1e9) for key in ("done", "silent"))
    done.clear()
    began = time.monotonic()
    Checkpoints.save_before_leaving(patience_s=0.2)
    assert 0.2 <= time.monotonic() - began < 5
    silent.clear()
    began = time.monotonic()
    Checkpoints.save_before_leaving(patience_s=30)
    assert time.monotonic() - began < 5


def test_the_time_spent_goes_on_from_the_checkpoint_that_the_work_goes_on_from(tmp_path: Path, clock: Clock) -> None:
    clock.now = 100.0
    first = Checkpoints(Store(tmp_path), "ddpm", "key", 0.0)
    assert first.spent_s == 0
    clock.now = 130.0
    assert first.spent_s == 30
    _saved(first, 1)
    first.wait()
    clock.now = 1000.0
    second = Checkpoints(Store(tmp_path), "ddpm", "key", 0.0)
    clock.now = 1005.0  # to load it is no work
    assert second.latest() == {"step": 1}
    clock.now = 1012.0
    assert second.spent_s == 37
