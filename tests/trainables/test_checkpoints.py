"""When a checkpoint is due: early, then by its cost, and at once when the process is asked to go."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from trainables import checkpoints
from trainables.checkpoints import FIRST_S, SHARE, Checkpoints
from trainables.store import Store


class Clock:
    """The seconds that the checkpoints see."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(checkpoints, "time", clock)
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
