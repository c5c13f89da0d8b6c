"""The console that everything is printed on."""

from __future__ import annotations

from rich.console import Console

PIPED_WIDTH = 120  # columns where no terminal says how wide it is


def console() -> Console:
    """Standard output: as wide as the terminal, or wide enough for the tables where there is none."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=PIPED_WIDTH)
