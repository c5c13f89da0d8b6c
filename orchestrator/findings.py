"""What a preflight finds, and how it is told. Imports neither Ray nor torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from orchestrator.errors import UsageError
from orchestrator.screen import console
from trainables.data import DataError


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


class Unfit(Exception):
    """What was looked at cannot be used; the text is one line that says why."""


def tried(node: str, what: str, action: Callable[[], str]) -> Finding:
    """What came of the action: its text, or in one line why it failed. Raises nothing."""
    try:
        return Finding(node, what, True, action())
    except Exception as error:  # whatever it is, it is what was looked for
        return Finding(node, what, False, one_line(error))


def one_line(error: Exception) -> str:
    """What an exception says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, Unfit | DataError | UsageError):
        return lines[0]
    # Ray's texts are long, and end with the exception of whatever failed there.
    return lines[-1] if type(error).__module__.startswith("ray.") else f"{type(error).__name__}: {lines[-1]}"


def show(findings: Iterable[Finding]) -> None:
    """Prints the findings as one table, a row each."""
    table = Table("node", "what", "ok", "detail")
    for finding in findings:
        verdict = Text("yes") if finding.ok else Text("NO", style="bold red")
        table.add_row(finding.node, finding.what, verdict, Text(finding.detail))
    console().print(table)
