"""A study's table in LaTeX."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from results.rows import TEXT_COLUMNS, flat_columns, study_table

_ESCAPES = {
    **{letter: f"\\{letter}" for letter in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"−": "$-$", "±": r"$\pm$", "Δ": r"$\Delta$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"},
    "†": r"$\dagger$",
}


def latex_table(summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """A tabular in the style of booktabs, whose rules fall back to plain lines where the package is not loaded."""
    table = study_table(summary, trials)
    columns = flat_columns(table)
    comments = [f"{row.variant}: {line}" for row in table.rows for line in row.unfinished]
    lines = [f"% {line}" for line in (*table.footnotes, *comments)]
    lines += [rf"\providecommand{{\{rule}}}{{\hline}}" for rule in ("toprule", "midrule", "bottomrule")]
    lines.append(rf"\begin{{tabular}}{{{''.join('l' if header in TEXT_COLUMNS else 'r' for header, _ in columns)}}}")
    lines += [r"\toprule", _row(header for header, _ in columns), r"\midrule"]
    for i, row in enumerate(table.rows):
        if row.control and i and not table.rows[i - 1].control:
            lines.append(r"\midrule")
        lines.append(_row(texts[i] for _, texts in columns))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(texts: Iterable[str]) -> str:
    # A row that begins with '[' would be read as the argument of the \\ before it.
    return " & ".join(f"{{{_escaped(text)}}}" if text.startswith("[") else _escaped(text) for text in texts) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)
