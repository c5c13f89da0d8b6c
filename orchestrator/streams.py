"""Standard output and error that nothing depends on: a screen is a courtesy, and losing it ends no study.

A pipe whose reader has gone, a terminal that was closed, an encoding without the table's letters: each would raise
where a line is printed, in the middle of whatever was going on.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class Lenient:
    """A text stream like the one that it is made from, whose writing raises nothing.

    Args:
        stream: of this process; once it fails, what is written to it is lost without a word.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        stream.reconfigure(errors="replace")
        self._stream = stream

    def write(self, text: str) -> int:
        """The number of characters, written or lost."""
        with _losing(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Writes what is left, where anybody takes it."""
        with _losing(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive() -> None:
    """From now on nothing that happens to standard output and error raises anything."""
    _open_closed()
    for name in ("stdout", "stderr"):
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            setattr(sys, name, Lenient(stream))


def _open_closed() -> None:
    """Opens the null device in place of what was closed at the start: the next file would get its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


@contextlib.contextmanager
def _losing(stream: io.TextIOWrapper) -> Iterator[None]:
    try:
        yield
    except OSError:
        # What is buffered would be tried again, at the latest when the interpreter ends.
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    except ValueError:  # it was closed
        return
