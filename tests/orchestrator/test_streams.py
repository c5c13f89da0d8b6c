"""A screen that is lost, or cannot show a letter, ends nothing: the real command, with what it writes to taken away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from orchestrator.console import console

PLAN = [sys.executable, "-m", "orchestrator.run", "ablations", "--dry-run", "--variants", "baseline"]
GOES_ON = """
import os
from orchestrator import streams
from orchestrator.console import console

streams.outlive()
for _ in range(3):
    console().print("\\u2588 \\u2212 \\u0394")
    print("x" * 100_000, flush=True)
os.write(NUMBER, b"it came to its end")
"""


def ended(lose, folder, code=GOES_ON):
    """What the process wrote to the file `end`, and its exit code; `lose` sees to its standard output."""
    with (folder / "end").open("w+b") as end:
        code = code.replace("NUMBER", str(end.fileno()))
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=lose, stderr=subprocess.PIPE, pass_fds=[end.fileno()]
        )
        if lose == subprocess.PIPE:
            process.stdout.close()
        errors = process.communicate(timeout=60)[1]
        end.seek(0)
        return end.read().decode(), process.returncode, errors


def test_a_pipe_whose_reader_has_gone_ends_nothing(tmp_path):
    assert ended(subprocess.PIPE, tmp_path) == ("it came to its end", 0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_below_the_output_ends_nothing(tmp_path):
    with open("/dev/full", "w") as full:
        assert ended(full, tmp_path) == ("it came to its end", 0, b"")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_a_terminal_that_was_closed_ends_nothing(tmp_path):
    master, terminal = os.openpty()
    os.close(master)
    assert ended(terminal, tmp_path) == ("it came to its end", 0, b"")
    os.close(terminal)


def test_a_screen_of_another_encoding_shows_what_it_can():
    done = subprocess.run(
        PLAN, capture_output=True, timeout=60, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"baseline-seed0" in done.stdout


def test_a_plan_whose_reader_has_gone_ends_well():
    process = subprocess.Popen(PLAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.communicate(timeout=60)[1]
    assert (process.returncode, errors) == (0, b"")


def test_what_was_closed_at_the_start_is_nobodys_file(tmp_path):
    code = "from orchestrator import streams; streams.outlive(); print('lost'); print(open('file', 'w').fileno() > 2)"
    check = f"{code}; import sys; sys.stderr.write('fine')"
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >&- <&-', sys.executable, check],
        cwd=tmp_path, capture_output=True, timeout=60, check=False, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"fine")
    assert (tmp_path / "file").read_text() == ""


def test_the_name_of_a_folder_is_shown_as_it_is(capsys):
    console().print("a [v2] [/red] :dog:", Table("[b]"))
    out = capsys.readouterr().out
    assert "a [v2] [/red] :dog:" in out and "[b]" in out


DRAWS = """
import io, sys
from orchestrator.console import console
from orchestrator.study.progress import Board

board = Board([], io.StringIO())
with board:
    board.line("a line")
print(console().width)
"""


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE"])
def test_colours_that_are_forced_into_a_file_draw_no_live_table(variable):
    env = os.environ | {variable: "1", "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", DRAWS], capture_output=True, text=True, timeout=60, check=False, env=env
    )  # fmt: skip
    *lines, width = done.stdout.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["a line"]
    assert width == "120"
