"""What `python -m orchestrator.run store` shows and prunes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.table import Table

from orchestrator.progress import duration
from orchestrator.registry import Entry, Registry
from orchestrator.screen import console


def show(registry: Registry) -> None:
    """Prints each artefact with its size, its age and the studies that refer to it."""
    entries = list(registry.entries())
    table = Table("stage", "key")
    table.add_column("size", justify="right")
    table.add_column("age", justify="right")
    table.add_column("studies")
    now = datetime.now(UTC)
    for entry in entries:
        age = duration(max(0.0, (now - entry.made).total_seconds()))
        generation = "" if entry.root == registry.root else f" ({entry.root.rpartition('/')[2]})"
        table.add_row(entry.stage, entry.key + generation, size(entry.bytes), age, ", ".join(entry.studies) or "none")
    out = console()
    out.print(table)
    unused = [entry for entry in entries if not entry.studies]
    out.print(f"{len(entries)} artefacts, {_total(entries)}, in {registry.root}", soft_wrap=True)
    if unused:
        out.print(f"{len(unused)} of them, {_total(unused)}, belong to no study; --prune removes them")


def prune(registry: Registry) -> None:
    """Removes what no study refers to and says what that freed."""
    gone = registry.prune()
    console().print(f"removed {len(gone)} artefacts, {_total(gone)}", soft_wrap=True)


def size(count: float) -> str:
    """A number of bytes as a person reads it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _total(entries: Iterable[Entry]) -> str:
    return size(sum(entry.bytes for entry in entries))
