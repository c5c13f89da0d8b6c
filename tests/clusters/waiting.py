"""Waiting for what other processes do, with an end, and saying how long it took.

This, `ports.py` and `processes.py` serve all tests and lie here because a script of this folder finds them beside it;
pytest finds them by its `pythonpath` in pyproject.toml.
"""

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

LOG_END = 5000  # letters of a log that are told

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    what: str,
    limit_s: float,
    pause_s: float = 0.1,
    process: subprocess.Popen | None = None,
    log: Path | None = None,
) -> T:
    """The condition's first value that counts as true.

    Args:
        what: is waited for, in words.
        pause_s: between two looks.
        process: without which it cannot come.
        log: whose end is told when it has not come.

    Raises:
        TimeoutError: it has not come in time.
        RuntimeError: the process has ended.
    """
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode} before {what}{_end(log)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {what}{_end(log)}")
        time.sleep(pause_s)
    return found


def wait_for_answer(
    url: str, who: str, limit_s: float, process: subprocess.Popen | None = None, log: Path | None = None
) -> None:
    """Waits until an HTTP server answers well.

    Args:
        who: answers, in words.
        process: the server's.
        log: the server's.

    Raises:
        TimeoutError: nobody does in time.
        RuntimeError: the server has ended.
    """
    wait_until(lambda: status(url) == 200, f"{who} answers at {url}", limit_s, process=process, log=log)


def status(url: str, headers: Mapping[str, str] | None = None, timeout_s: float = 1.0) -> int:
    """The status of an HTTP answer; 0 where nobody answers."""
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Says on stderr what was done, and how long it took."""
    began = time.monotonic()
    try:
        yield
    finally:
        print(f"{time.monotonic() - began:6.1f} s  {what:.110}", file=sys.stderr, flush=True)


def _end(log: Path | None) -> str:
    if log is None:
        return ""
    said = log.read_text(errors="replace") if log.exists() else "nothing"
    return f"; {log} says:\n{said[-LOG_END:]}"
