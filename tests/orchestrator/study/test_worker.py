"""What a worker leaves behind between two trials."""

import signal
import subprocess
import sys

import pytest
import torch

from orchestrator.study.worker import _one_line, lasting
from trainables.checkpoints import Checkpoints
from trainables.finite import Diverged
from trainables.pipeline import Changed
from trainables.store import Store

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


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ValueError("a batch of more pixels than there are"), True),
        (Diverged("at step 3"), True),
        (OSError(28, "No space left on device"), False),
        (MemoryError(), False),
        (Changed("the code has been changed"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
    ],
)
def test_what_would_fail_again_is_known(error, again):
    assert lasting(error) == again


GOING = """
import signal, sys, threading, time
from orchestrator.study.worker import answer_sigterm
from trainables.checkpoints import Checkpoints
from trainables.store import Store

answer_sigterm()
made = Checkpoints(Store(sys.argv[1]), "ddpm", "key", 1e9)

def work():
    for step in range(1, 100_000):
        made.save_now_and_then(step, lambda: {"step": step})
        print(step, flush=True)
        time.sleep(0.01)

threading.Thread(target=work, daemon=True).start()
while True:
    time.sleep(0.1)
"""


def test_a_worker_that_is_asked_to_go_writes_a_last_checkpoint_and_goes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", GOING, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    assert Checkpoints(Store(tmp_path), "ddpm", "key", 1e9).latest()["step"] > 0
