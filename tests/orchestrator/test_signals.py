"""What the process does with signals, and how it ends: each in a process of its own."""

import signal
import subprocess
import sys

import pytest

HANGS_UP = """
import os, signal
from orchestrator import signals

signals.listen()
try:
    os.kill(os.getpid(), signal.SIGHUP)
    signals.check()
    print("goes on")
except KeyboardInterrupt:
    print("stops")
signals.ignore()
os.kill(os.getpid(), signal.SIGHUP)
"""
ENDS = """
import atexit, os, signal, sys
from orchestrator import signals

class Fault:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGSEGV)

fault = Fault()  # is taken apart with the module, as Ray's core worker is
atexit.register(print, "an exit handler")
print("a line")
signals.end(130)
"""
CHILD = """
import subprocess, signal, sys
from orchestrator import signals

with signals.children_outlive_hangup():
    child = subprocess.Popen(["sleep", "60"])
child.send_signal(signal.SIGHUP)
child.send_signal(signal.SIGTERM)
print(signal.Signals(-child.wait()).name, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def ran(code, **how):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **how
    )  # fmt: skip


def test_a_terminal_that_closes_stops_as_ctrl_c_does():
    assert (ran(HANGS_UP).stdout, ran(HANGS_UP).returncode) == ("stops\n", 0)


def test_what_nohup_has_started_goes_on_without_a_terminal():
    done = ran(HANGS_UP, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert (done.stdout, done.returncode) == ("goes on\n", 0)


def test_the_exit_code_stands_whatever_breaks_while_the_interpreter_is_taken_apart():
    done = ran(ENDS)
    assert (done.stdout, done.returncode) == ("a line\nan exit handler\n", 130)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_what_a_study_starts_is_not_ended_by_a_terminal_that_closes():
    assert ran(CHILD).stdout == "SIGTERM set()\n"
