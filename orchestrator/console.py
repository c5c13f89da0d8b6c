"""The console that everything is printed on."""

from __future__ import annotations

import sys

from rich.console import Console

PIPED_WIDTH = 120  # columns where no terminal says how wide it is


def console() -> Console:
    """Standard output: as wide as the terminal, or wide enough for the tables where there is none.

    FORCE_COLOR makes rich take a file for a terminal: colours are what was asked for, a table that is drawn over
    itself four times a second is not.
    """
    if sys.stdout is not None and sys.stdout.isatty():
        return Console(markup=False, emoji=False)  # a folder may be called [v2], or :b:
    return Console(width=PIPED_WIDTH, force_interactive=False, markup=False, emoji=False)
