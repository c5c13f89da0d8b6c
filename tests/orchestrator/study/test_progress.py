import io

import pytest
from rich.console import Console

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.study import progress
from search_spaces.spaces import ABLATIONS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def board():
    trials = plan.build(Request(ABLATIONS, chosen=["cosine"])).trials
    clock = Clock()
    board = progress.Board(trials, io.StringIO(), clock)
    return board, clock, trials


def rendered(board) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(board.table())
    return console.file.getvalue()


def test_a_running_trial_shows_stage_loss_and_time_left(board):
    board, clock, (first, *_) = board
    board.started(first)
    board.advanced(first, "ddpm", 2, 4, {"loss": 0.125})
    clock.now += 60
    text = rendered(board)
    assert "training" in text
    assert "0.1250" in text
    assert "1 m 00 s" in text
    assert "waiting" in text


def test_a_screen_without_room_for_all_shows_what_runs_and_has_failed(board):
    board, _, trials = board
    board.console = Console(width=120, height=progress.FRAME_LINES + 3, file=io.StringIO())
    for trial in trials[:2]:
        board.started(trial)
        board.ended(trial, "done", "")
    board.started(trials[-1])
    board.started(trials[-2])
    board.ended(trials[-2], "FAILED", "no memory")
    text = rendered(board)
    assert [line.split()[1] for line in text.splitlines() if "-seed" in line] == [t.name for t in trials[2:]]
    assert "not shown: 2 done" in text
    assert len(text.splitlines()) <= progress.FRAME_LINES + 3


@pytest.mark.parametrize(("term", "lines"), [("dumb", True), ("unknown", True), ("xterm", False)])
def test_a_terminal_that_cannot_draw_gets_plain_lines(board, capsys, term, lines):
    board, _, (first, *_) = board
    board.console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": term})
    with board:
        board.started(first)
    assert (first.name in capsys.readouterr().out) is lines


def test_a_stage_begins_without_the_loss_of_the_one_before(board, capsys):
    board, clock, (first, *_) = board
    board.started(first)
    board.advanced(first, "ddpm", 4, 4, {"loss": 0.125})
    clock.now += 60
    board.advanced(first, "segmentation", 7, 0, {})
    line = capsys.readouterr().out.splitlines()[-1]
    assert "segmentation, about" in line
    assert "loss" not in line


def test_a_retry_says_its_attempt_and_goes_on_with_the_trials_clock(board, capsys):
    board, clock, (first, *_) = board
    board.started(first)
    assert capsys.readouterr().out.endswith(f"{first.name}: started ({first.delta})\n")
    clock.now += 30
    board.started(first, attempt=2)
    assert capsys.readouterr().out.endswith(f"{first.name}: its worker was lost, attempt 2\n")
    clock.now += 30
    board.ended(first, "done", "fid 12")
    assert capsys.readouterr().out.endswith(f"{first.name}: done after 1 m 00 s: fid 12\n")


def test_the_head_counts_what_has_ended_well_or_not(board):
    board, clock, trials = board
    for trial, status in zip(trials, ("done", "FAILED", "stopped"), strict=False):
        board.started(trial)
        board.ended(trial, status, "")
    board.started(trials[3])
    clock.now += 90
    assert f"2 of {len(trials)} trials, 1 m 30 s" in rendered(board)


def test_the_time_left_follows_the_work_that_is_left(board):
    board, clock, (first, *_) = board
    board.started(first)
    clock.now += 10
    state = board.states[first.name]
    left = []
    for step in (1, 2, 3):
        board.advanced(first, "ddpm", step, 4, {})
        left.append(state.left_s(clock.now))
    assert left[0] > left[1] > left[2] > 0


def test_fractions_rise_through_the_stages_and_end_at_one(board):
    board, _, (first, *_) = board
    state = board.states[first.name]
    seen = []
    for stage in first.stages:
        for step in (0, 5, 10):
            board.advanced(first, stage, step, 10, {})
            seen.append(state.fraction)
    board.ended(first, "done", "")
    assert seen == sorted(seen)
    assert state.fraction == 1.0


def test_plain_lines_come_now_and_then_and_not_for_every_record(board, capsys):
    board, clock, (first, *_) = board
    board.started(first)
    for step in range(100):
        clock.now += 1
        board.advanced(first, "ddpm", step, 100, {})
    lines = capsys.readouterr().out.splitlines()
    assert 5 <= len([line for line in lines if "training" in line]) <= 8


def test_the_log_gets_the_lines_that_the_screen_gets(board, capsys):
    board, _, (first, *_) = board
    board.started(first)
    board.ended(first, "FAILED", "no luck")
    assert capsys.readouterr().out == board._log.getvalue()
    assert "FAILED after 0 s: no luck" in board._log.getvalue()
