"""The study's table on the page, and the number in each text by which a click sorts it."""

from __future__ import annotations

import re

from results.formatting import joined
from results.page.elements import cell, escaped, table
from results.rows import TEXT_COLUMNS, StudyTable, flat_columns

_MARKED = ("helps", "hurts", "inconclusive", "FAILED", "KILLED")  # words that have a colour in the style sheet
_UNITS = {"k": 1e3, "M": 1e6, "B": 1e9, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"([-−+]?)(\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?: ([kMBsmh])\b)?(?: (\d\d?) ([sm])\b)?")


def html_study_table(study: StudyTable) -> str:
    """The table, a body for the variants and one for the controls."""
    columns = flat_columns(study)
    rows = [[_cell(header, texts[i]) for header, texts in columns] for i in range(len(study.rows))]
    return table([header for header, _ in columns], rows, [row.control for row in study.rows])


def sort_number(text: str) -> float | None:
    """The number that a figure's text begins with, in its unit: 34.3 of '34.3 ± 3.0', 198000 of '198 k'.

    None where it begins with none; times are in seconds.
    """
    found = _NUMBER.match(text)
    if not found:
        return None
    sign, digits, unit, rest, rest_unit = found.groups()
    value = float(digits) * _UNITS.get(unit, 1.0) + (float(rest) * _UNITS[rest_unit] if rest else 0.0)
    return -value if sign in ("-", "−") and sign else value


def _cell(header: str, text: str) -> str:
    word = text.split(",")[0]
    coloured = word if word in _MARKED and header != "variant" else ""
    content, wraps = escaped(text), ""
    if header == "what changed":  # a setting's name breaks at its joints
        content, wraps = re.sub(r"(?<=[._=/])(?=\w)", "<wbr>", content), "changed"
    elif header == "verdict":
        content, wraps = ", ".join(f"<span>{words}</span>" for words in content.split(", ")), "wraps"
    elif header.startswith("Δ"):
        content, wraps = re.sub(r"(\[.*?\])", r"<span>\1</span>", content), "wraps"
    kind = joined(wraps if text else "", coloured, by=" ")
    return cell(content, None if header in TEXT_COLUMNS else sort_number(text), kind)
