"""Ctrl-C, SIGTERM and SIGHUP: seen once, never lost, and an end of the process that nothing can spoil.

Python may raise KeyboardInterrupt where it is swallowed, in a destructor or a callback of a C library. The flag stays,
and whoever works in rounds asks for it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

Handler = Callable[[int, FrameType | None], None] | signal.Handlers

INTERRUPTED = 130  # the exit code of what the person has stopped
# A terminal that is closed, or an ssh that is lost, sends SIGHUP. nohup starts a program with it ignored: so it stays.
HANGUP = getattr(signal, "SIGHUP", None)
HEEDED = [signal.SIGINT, signal.SIGTERM]
if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
    HEEDED.append(HANGUP)

_seen = False


def listen() -> None:
    """From now on each of them raises KeyboardInterrupt and is remembered."""
    _handle(_interrupt)


def leave() -> None:
    """From now on each ends the process at once and without a word: nothing has begun."""
    _handle(_leave)


def ignore() -> None:
    """From now on none does anything: what is left takes moments and must not be cut short."""
    _handle(signal.SIG_IGN)


def check() -> None:
    """Passes if none of them has come.

    Raises:
        KeyboardInterrupt: one has.
    """
    if _seen:
        raise KeyboardInterrupt


@contextlib.contextmanager
def children_outlive_hangup() -> Iterator[None]:
    """Processes that are started meanwhile are not ended by a SIGHUP: a terminal that closes sends it to all of them.

    They are this process's to end, once it has what they know. A blocked signal is inherited, and is not lost here.
    """
    if HANGUP is None:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {HANGUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(code: int) -> NoReturn:
    """Ends the process with this exit code.

    Of what was interrupted the exit handlers still run and what was written is out, but no more. The interpreter's own
    end would go on to take apart modules under threads of C++ that still run in them (Ray's core worker, where Ray was
    interrupted while it started), and a segmentation fault would take the place of the code.
    """
    if code != INTERRUPTED:
        sys.exit(code)
    ignore()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """What is done with signals meanwhile, in a program that is not ours, is undone at the end."""
    global _seen
    before = {number: signal.getsignal(number) for number in HEEDED}
    try:
        yield
    finally:
        _seen = False
        if _is_main_thread():
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _handle(handler: Handler) -> None:
    if not _is_main_thread():  # a thread of a person's program: signals are not its own
        return
    for number in HEEDED:
        signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt
