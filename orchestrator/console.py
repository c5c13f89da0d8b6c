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
    if sys.stdout is not None and sys.stdout.isatty() and not Console().is_jupyter:
        return Console(markup=False, emoji=False)  # a folder may be called [v2], or :b:
    # A notebook's output says that it is a terminal, and rich would make a page of each line there.
    terminal = False if Console().is_jupyter else None
    return Console(
        width=PIPED_WIDTH,
        force_terminal=terminal,
        force_interactive=False,
        force_jupyter=False,
        markup=False,
        emoji=False,
    )
