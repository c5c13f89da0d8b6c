"""The elements that the page's sections are made of; every text is escaped here."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence


def escaped(text: object) -> str:
    """The text as HTML shows it, in an attribute too."""
    return html.escape(str(text))


def identifier(*words: str) -> str:
    """The words as an element's id."""
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", word) for word in words)


def note(text: str) -> str:
    """A line below a figure or a table."""
    return f'<p class="note">{escaped(text)}</p>'


def section(title: str, *parts: str) -> str:
    """The parts under a heading; "" where all of them are empty."""
    body = "\n".join(filter(None, parts))
    return f"<section>\n<h2>{escaped(title)}</h2>\n{body}\n</section>" if body else ""


def folded(title: str, *parts: str) -> str:
    """The parts behind a line that opens them; "" where all of them are empty."""
    body = "\n".join(filter(None, parts))
    return f"<details>\n<summary>{escaped(title)}</summary>\n{body}\n</details>" if body else ""


def listed(lines: Sequence[str]) -> str:
    """A list of texts; "" where there are none."""
    items = "\n".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f"<ul>\n{items}\n</ul>" if lines else ""


def cell(content: str, sort: float | None = None, kind: str = "") -> str:
    """A table's cell.

    Args:
        content: HTML.
        sort: the number by which its column is sorted, where it is not by its text.
        kind: a class of the style sheet.
    """
    attributes = (f' class="{kind}"' if kind else "") + (f' data-sort="{sort:.10g}"' if sort is not None else "")
    return f"<td{attributes}>{content}</td>"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], controls: Sequence[bool]) -> str:
    """A table in a box of its own, whose controls are a body of their own.

    Args:
        headers: texts; a click on one sorts the rows of each body, where scripts run.
        rows: of cells, each a whole td.
        controls: whether the row is one, row by row.
    """
    head = "".join(f'<th scope="col">{escaped(header)}</th>' for header in headers)
    bodies = []
    for wanted in (False, True):
        body = [f"<tr>{''.join(row)}</tr>" for row, control in zip(rows, controls, strict=True) if control == wanted]
        if body:
            bodies.append("<tbody>\n" + "\n".join(body) + "\n</tbody>")
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n' + "\n".join(bodies) + "\n</table></div>"
