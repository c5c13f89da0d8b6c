"""The program's name, as the person called it: for usage lines, and for hints on what to type next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

MODULE, COMMAND = "python -m orchestrator.run", "diffusion-ablations"


def called(words: Sequence[str]) -> str:
    """The installed command where that was called, else the module.

    Args:
        words: of the whole command line, the interpreter first.
    """
    first = next((word for word in words[1:] if not word.startswith("-")), "")
    return COMMAND if Path(first).name == COMMAND else MODULE


PROGRAM = called(sys.orig_argv)
