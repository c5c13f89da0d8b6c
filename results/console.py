"""A study's table on the console, with as much beside each other as its width allows."""

from __future__ import annotations

import re

import pandas as pd
from rich.box import HORIZONTALS
from rich.table import Column, Table
from rich.text import Text

from results.formatting import joined
from results.rows import (
    Cell,
    Columns,
    StudyTable,
    about_columns,
    cost_columns,
    difference_header,
    gpu_columns,
    metric_header,
    published_columns,
    study_table,
)

_STYLES = {"helps": "green", "hurts": "red", "inconclusive": "yellow", "FAILED": "bold red", "KILLED": "bold red"}
_CHANGED_WIDTH = 20  # terminal columns in which 'what changed' still wraps decently


def console_table(summary: pd.DataFrame, trials: pd.DataFrame, width: int = 120) -> Table:
    """The study's table: baseline, variants, a line, controls; what did not finish stands under its variant.

    Args:
        summary: as `summary.summarise` gives it.
        trials: as `trials.load_trials` gives them.
        width: columns of the terminal; where they are few, a difference stands under its mean.
    """
    table = study_table(summary, trials)
    columns = _fitted(table, width)
    drawn = Table(
        *(Column(Text(header), overflow="fold") for header, _ in columns),
        box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold",
        caption=Text("\n".join(table.footnotes)), caption_justify="left",
    )  # fmt: skip
    for i, row in enumerate(table.rows):
        if row.control and i and not table.rows[i - 1].control:
            drawn.add_section()
        about, numbers = [Text(texts[i]) for _, texts in columns[:3]], [_styled(texts[i]) for _, texts in columns[3:]]
        drawn.add_row(*about, *numbers, style="dim" if row.control else None)
        for line in row.unfinished:
            drawn.add_row("", Text(line, style="red"))
    return drawn


def _fitted(table: StudyTable, width: int) -> Columns:
    """The wide columns where 'what changed' keeps `_CHANGED_WIDTH` beside them, else the narrow ones."""
    for columns in (_wide(table), _narrow(table)):
        others = sum(_width(column) + 2 for column in columns if column[0] != "what changed")
        if width - others >= _CHANGED_WIDTH:
            break
    header, changes = columns[1]
    columns[1] = (header, [_wrapped(text, max(width - others, _CHANGED_WIDTH)) for text in changes])
    return columns


def _width(column: tuple[str, list[str]]) -> int:
    header, texts = column
    return max(len(line) for text in (header, *texts) for line in text.split("\n"))


def _wide(table: StudyTable) -> Columns:
    """Two columns a metric, three where the paper prints figures."""
    columns = about_columns(table)
    for k, metric in enumerate(table.metrics):
        cells = [row.cells[k] for row in table.rows]
        differences = [
            joined(joined(c.difference, _short_verdict(table, c), by=" "), c.interval, c.detail, by="\n") for c in cells
        ]
        columns += [(metric_header(metric), [cell.value for cell in cells]), *published_columns(table, k)]
        columns.append((difference_header(table), differences))
    return columns + (_stacked_cost(table) if table.several else cost_columns(table, "params", "time"))


def _narrow(table: StudyTable) -> Columns:
    """One column a metric, everything of it stacked."""
    columns = about_columns(table)
    for k, metric in enumerate(table.metrics):
        stacked = [
            joined(c.value, _paper(c), c.difference, c.interval, _short_verdict(table, c), c.detail, by="\n")
            for c in (row.cells[k] for row in table.rows)
        ]
        headers = (metric_header(metric), *(header for header, _ in published_columns(table, k)))
        columns.append(("\n".join((*headers, difference_header(table))), stacked))
    return columns + _stacked_cost(table)


def _stacked_cost(table: StudyTable) -> Columns:
    return [("params\ntime", [f"{row.parameters}\n{row.wall_time}" for row in table.rows]), *gpu_columns(table)]


def _paper(cell: Cell) -> str:
    """Named, as some cells of a stack have none."""
    return f"paper {cell.published}" if cell.published else ""


def _short_verdict(table: StudyTable, cell: Cell) -> str:
    """Nothing where every variant has one seed: the footnotes say so once."""
    return cell.verdict.split(":")[0] if table.several else ""


def _wrapped(text: str, width: int) -> str:
    """Lines of at most `width`, broken after the joints of dotted settings too and not only at blanks."""
    lines = [""]
    for piece in re.split(r"(?<=[\s.,=_])", text):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _styled(text: str) -> Text:
    """Each line in the colour of the word it ends with: '−5.4 helps'."""
    return Text("\n").join(
        Text(line, style=_STYLES.get(line.split(",")[0].split(" ")[-1], "")) for line in text.split("\n")
    )
