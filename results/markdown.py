"""A study's table in GitHub's Markdown."""

from __future__ import annotations

import html
import re

import pandas as pd

from results.footnotes import sentence
from results.formatting import NOTHING
from results.rows import TEXT_COLUMNS, flat_columns, study_table


def markdown_table(summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """The table, what did not finish and the footnotes in GitHub's Markdown; the controls are in italics.

    Args:
        summary: as `summary.summarise` gives it.
        trials: as `trials.load_trials` gives them.
    """
    table = study_table(summary, trials)
    columns = flat_columns(table)
    lines = ["| " + " | ".join(_escaped(header) for header, _ in columns) + " |"]
    lines.append("| " + " | ".join(":--" if header in TEXT_COLUMNS else "--:" for header, _ in columns) + " |")
    for i, row in enumerate(table.rows):
        name, changed, *numbers = (texts[i] for _, texts in columns)
        name = f"*{_escaped(name)}*" if row.control else _escaped(name)
        changed = _escaped(changed) if row.control or changed == NOTHING else _code(changed)
        lines.append(f"| {' | '.join([name, changed, *map(_escaped, numbers)])} |")
    unfinished = [f"- {_escaped(row.variant)}: {_escaped(line)}" for row in table.rows for line in row.unfinished]
    footnotes = [_escaped(sentence(line)) for line in table.footnotes]
    return "\n\n".join("\n".join(block) for block in (lines, unfinished, footnotes) if block) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*|~]|\](?=\())", r"\\\1", html.escape(text, quote=False))


def _code(text: str) -> str:
    """Code, in which only a table's bar is escaped; a text with backticks cannot be code."""
    return _escaped(text) if "`" in text else f"`{text.replace('|', chr(92) + '|')}`"
