"""What a preflight finds, and how it is told. Imports neither Ray nor torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from orchestrator.console import console
from orchestrator.errors import one_line


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        node: where; "driver" and "cluster" beside the nodes' names.
        what: was looked at.
        ok: whether a study can run with it.
        detail: one line; where not ok it says what is wrong.
    """

    node: str
    what: str
    ok: bool
    detail: str


def tried(node: str, what: str, action: Callable[[], str]) -> Finding:
    """What came of the action: its text, or in one line why it failed. Raises nothing."""
    try:
        return Finding(node, what, True, action())
    except Exception as error:  # whatever it is, it is what was looked for
        return Finding(node, what, False, one_line(error))


def show(findings: Iterable[Finding]) -> None:
    """Prints the findings as one table, a row each."""
    table = Table("node", "what", "ok", "detail")
    for finding in findings:
        verdict = Text("yes") if finding.ok else Text("NO", style="bold red")
        table.add_row(finding.node, finding.what, verdict, Text(finding.detail))
    console().print(table)
