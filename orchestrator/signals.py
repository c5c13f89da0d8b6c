"""Ctrl-C and SIGTERM: seen once, never lost.

Python may raise KeyboardInterrupt where it is swallowed, in a destructor or a callback of a C library. The flag stays,
and whoever works in rounds asks for it.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_seen = False


def listen() -> None:
    """From now on both signals raise KeyboardInterrupt and are remembered."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


def leave() -> None:
    """From now on both end the process at once and without a word: nothing has begun."""
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)


def ignore() -> None:
    """From now on neither does anything: what is left takes moments and must not be cut short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def check() -> None:
    """Passes if neither signal has come.

    Raises:
        KeyboardInterrupt: one has.
    """
    if _seen:
        raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(130)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt
