"""What `python -m orchestrator.run store` shows and prunes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.table import Table

from orchestrator.console import console
from orchestrator.errors import UsageError
from orchestrator.storage.registry import Entry, Registry
from results.formatting import duration, size
from trainables.claims import Claims


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


def forget(registry: Registry, study: str) -> None:
    """Takes the study's references away; its artefacts stay until they are pruned.

    Raises:
        UsageError: it is being run, or there is none of that name.
    """
    if holder := Claims(registry.store).living_holder(f"study-{study}"):
        who = f"process {holder['pid']} on {holder['host']}"
        raise UsageError(f"--forget: the study {study} is being run by {who}")
    if not registry.forget(study):
        known = ", ".join(registry.studies()) or "none"
        raise UsageError(f"--forget: no study {study!r} in {registry.root}; it has: {known}")


def prune(registry: Registry) -> None:
    """Removes what no study refers to and says what that freed."""
    gone = registry.prune()
    console().print(f"removed {len(gone)} artefacts, {_total(gone)}", soft_wrap=True)


def _total(entries: Iterable[Entry]) -> str:
    return size(sum(entry.bytes for entry in entries))
