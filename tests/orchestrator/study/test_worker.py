"""What a worker leaves behind between two trials."""

import subprocess
import sys

import pytest

from orchestrator.study.worker import _one_line

# A heap of small pieces with the last one held, as a trial leaves it in a thread that has ended.
PROGRAM = """
import threading
from orchestrator.study.worker import release_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

held = []

def trial():
    pieces = [bytearray(50_000) for _ in range(4_000)]
    held.append(pieces.pop())

thread = threading.Thread(target=trial)
thread.start()
thread.join()
before = resident_mb()
release_memory()
print(before, resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_trial_has_freed_is_given_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before > 200
    assert after < before - 150


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one line"), "ValueError: one line"),
        (RuntimeError("The above exception:\n  frames\n\n  what went wrong \n\n"), "RuntimeError: what went wrong"),
        (KeyError(), "KeyError"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (RuntimeError(" \n "), "RuntimeError"),
    ],
)
def test_an_error_is_told_by_its_kind_and_its_last_line(error, line):
    assert _one_line(error) == line
