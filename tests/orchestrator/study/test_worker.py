"""What a worker leaves behind between two trials."""

import subprocess
import sys

import pytest

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
