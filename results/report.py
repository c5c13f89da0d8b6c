"""A study's table for people: on the console, as Markdown, LaTeX and CSV, and as one self-contained HTML page.

All of them are drawn from the same rows of words, so that they cannot tell different stories. A number is never shown
without what qualifies it: its n, its spread where there is one, and the seeds that failed.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from rich.box import HORIZONTALS
from rich.table import Column, Table
from rich.text import Text

from results.caption import sentence
from results.page import Pictures, html_page
from results.sheet import (
    TEXT_COLUMNS,
    Cell,
    Columns,
    Sheet,
    about_columns,
    cost_columns,
    difference_header,
    flat_columns,
    gpu_columns,
    metric_header,
    published_columns,
    sheet_of,
)
from results.table import heat_map, iou_by_class
from results.words import NOTHING, joined

_STYLES = {"helps": "green", "hurts": "red", "inconclusive": "yellow", "FAILED": "bold red", "KILLED": "bold red"}
_CHANGED_WIDTH = 20  # terminal columns in which 'what changed' still wraps decently


def console_table(summary: pd.DataFrame, trials: pd.DataFrame, width: int = 120) -> Table:
    """The study's table: baseline, variants, a line, controls; what did not finish stands under its variant.

    Args:
        summary: as `table.summarise` gives it.
        trials: as `table.load_trials` gives them.
        width: columns of the terminal; where they are few, a difference stands under its mean.
    """
    sheet = sheet_of(summary, trials)
    columns = _fitted(sheet, width)
    table = Table(
        *(Column(Text(header), overflow="fold") for header, _ in columns),
        box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold",
        caption=Text("\n".join(sheet.caption)), caption_justify="left",
    )  # fmt: skip
    for i, row in enumerate(sheet.rows):
        if row.control and i and not sheet.rows[i - 1].control:
            table.add_section()
        about, numbers = [Text(texts[i]) for _, texts in columns[:3]], [_styled(texts[i]) for _, texts in columns[3:]]
        table.add_row(*about, *numbers, style="dim" if row.control else None)
        for line in row.unfinished:
            table.add_row("", Text(line, style="red"))
    return table


def markdown_table(summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """The table, what did not finish and the caption in GitHub's Markdown; the controls are in italics.

    Args:
        summary: as `table.summarise` gives it.
        trials: as `table.load_trials` gives them.
    """
    sheet = sheet_of(summary, trials)
    columns = flat_columns(sheet)
    lines = ["| " + " | ".join(_markdown(header) for header, _ in columns) + " |"]
    lines.append("| " + " | ".join(":--" if header in TEXT_COLUMNS else "--:" for header, _ in columns) + " |")
    for i, row in enumerate(sheet.rows):
        name, changed, *numbers = (texts[i] for _, texts in columns)
        name = f"*{_markdown(name)}*" if row.control else _markdown(name)
        changed = _markdown(changed) if row.control or changed == NOTHING else _markdown_code(changed)
        lines.append(f"| {' | '.join([name, changed, *map(_markdown, numbers)])} |")
    unfinished = [f"- {_markdown(row.variant)}: {_markdown(line)}" for row in sheet.rows for line in row.unfinished]
    captions = [_markdown(sentence(line)) for line in sheet.caption]
    return "\n\n".join("\n".join(block) for block in (lines, unfinished, captions) if block) + "\n"


def write(
    summary: pd.DataFrame,
    trials: pd.DataFrame,
    folder: Path,
    pictures: Pictures | None = None,
    *,
    study: str | None = None,
    overview: Mapping[str, Path] | None = None,
) -> list[Path]:
    """The paths of what is written, each file replaced as a whole.

    These are `table.csv`, `table.md`, `table.tex` and `report.html`, and where trials have what they show
    `iou_by_class.csv` and `heat_map.csv`.

    Args:
        summary: as `table.summarise` gives it; table.csv is all of it, the others show the main metrics.
        trials: as `table.load_trials` gives them.
        folder: is made where it is missing.
        pictures: variant -> caption -> image file; they are put into the page, which needs no other file.
        study: the page's title; by default the folder's name.
        overview: caption -> image file, of pictures of the whole study; they stand below the page's table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    title, sheet = study or folder.resolve().name, sheet_of(summary, trials)
    views = {"iou_by_class.csv": iou_by_class(trials), "heat_map.csv": heat_map(trials)}
    texts = {
        "table.csv": summary.to_csv(index=False, lineterminator="\n"),
        "table.md": markdown_table(summary, trials),
        "table.tex": _latex_table(summary, trials),
        "report.html": html_page(title, sheet, trials, pictures or {}, overview or {}),
        **{name: view.to_csv(lineterminator="\n") for name, view in views.items() if not view.empty},
    }
    for name, text in texts.items():
        _replace(folder / name, text)
    for name in views.keys() - texts.keys():
        # What an earlier write left would stand beside a table that it does not belong to.
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in texts]


def _replace(path: Path, text: str) -> None:
    # A reader, or a crash, must never meet half a table.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


# The console.


def _fitted(sheet: Sheet, width: int) -> Columns:
    """The wide columns where 'what changed' keeps `_CHANGED_WIDTH` beside them, else the narrow ones."""
    for columns in (_wide(sheet), _narrow(sheet)):
        others = sum(_width(column) + 2 for column in columns if column[0] != "what changed")
        if width - others >= _CHANGED_WIDTH:
            break
    header, changes = columns[1]
    columns[1] = (header, [_wrapped(text, max(width - others, _CHANGED_WIDTH)) for text in changes])
    return columns


def _width(column: tuple[str, list[str]]) -> int:
    header, texts = column
    return max(len(line) for text in (header, *texts) for line in text.split("\n"))


def _wide(sheet: Sheet) -> Columns:
    """Two columns a metric, three where the paper prints figures."""
    columns = about_columns(sheet)
    for k, metric in enumerate(sheet.metrics):
        cells = [row.cells[k] for row in sheet.rows]
        differences = [
            joined(joined(c.difference, _short_verdict(sheet, c), by=" "), c.interval, c.detail, by="\n") for c in cells
        ]
        columns += [(metric_header(metric), [cell.value for cell in cells]), *published_columns(sheet, k)]
        columns.append((difference_header(sheet), differences))
    return columns + (_stacked_cost(sheet) if sheet.several else cost_columns(sheet, "params", "time"))


def _narrow(sheet: Sheet) -> Columns:
    """One column a metric, everything of it stacked."""
    columns = about_columns(sheet)
    for k, metric in enumerate(sheet.metrics):
        stacked = [
            joined(c.value, _paper(c), c.difference, c.interval, _short_verdict(sheet, c), c.detail, by="\n")
            for c in (row.cells[k] for row in sheet.rows)
        ]
        headers = (metric_header(metric), *(header for header, _ in published_columns(sheet, k)))
        columns.append(("\n".join((*headers, difference_header(sheet))), stacked))
    return columns + _stacked_cost(sheet)


def _stacked_cost(sheet: Sheet) -> Columns:
    return [("params\ntime", [f"{row.parameters}\n{row.wall_time}" for row in sheet.rows]), *gpu_columns(sheet)]


def _paper(cell: Cell) -> str:
    """Named, as some cells of a stack have none."""
    return f"paper {cell.published}" if cell.published else ""


def _short_verdict(sheet: Sheet, cell: Cell) -> str:
    """Nothing where every variant has one seed: the caption says so once."""
    return cell.verdict.split(":")[0] if sheet.several else ""


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


# Markdown and LaTeX.


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*|~]|\](?=\())", r"\\\1", html.escape(text, quote=False))


def _markdown_code(text: str) -> str:
    """Code, in which only a table's bar is escaped; a text with backticks cannot be code."""
    return _markdown(text) if "`" in text else f"`{text.replace('|', chr(92) + '|')}`"


_LATEX = {
    **{letter: f"\\{letter}" for letter in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"−": "$-$", "±": r"$\pm$", "Δ": r"$\Delta$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"},
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _latex_table(summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """A tabular in the style of booktabs, whose rules fall back to plain lines where the package is not loaded."""
    sheet = sheet_of(summary, trials)
    columns = flat_columns(sheet)
    comments = [f"{row.variant}: {line}" for row in sheet.rows for line in row.unfinished]
    lines = [f"% {line}" for line in (*sheet.caption, *comments)]
    lines += [rf"\providecommand{{\{rule}}}{{\hline}}" for rule in ("toprule", "midrule", "bottomrule")]
    lines.append(rf"\begin{{tabular}}{{{''.join('l' if header in TEXT_COLUMNS else 'r' for header, _ in columns)}}}")
    lines += [r"\toprule", _latex_row(header for header, _ in columns), r"\midrule"]
    for i, row in enumerate(sheet.rows):
        if row.control and i and not sheet.rows[i - 1].control:
            lines.append(r"\midrule")
        lines.append(_latex_row(texts[i] for _, texts in columns))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_row(texts: Iterable[str]) -> str:
    # A row that begins with '[' would be read as the argument of the \\ before it.
    return " & ".join(f"{{{_latex(text)}}}" if text.startswith("[") else _latex(text) for text in texts) + r" \\"
