"""The study's trials as JSON inside the page, and back: from them the page's table is made again.

    {"study": NAME, "attrs": {...}, "trials": {"columns": {NAME: [a value a trial] or {"all": value}}, "count": N}}

A figure that is no number is null, an infinite one the text "inf" or "-inf".
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pandas as pd

_ELEMENT = '<script type="application/json" id="study">'
_INFINITE = {"inf": math.inf, "-inf": -math.inf}


def as_element(study: str, trials: pd.DataFrame) -> str:
    """The script element that holds the trials; no text in it can end it.

    Args:
        study: the study's name.
        trials: as `trials.load_trials` gives them.
    """
    columns = {str(name): _column(trials[name]) for name in trials.columns}
    attrs = {name: value for name, value in trials.attrs.items() if _plain(value)}
    content = {"study": study, "attrs": attrs, "trials": {"count": len(trials), "columns": columns}}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _ELEMENT + text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e") + "</script>"


def from_page(page: str) -> tuple[str, pd.DataFrame]:
    """The study's name and its trials, as `trials.load_trials` gave them to the page's writer.

    Args:
        page: the text of report.html.

    Raises:
        ValueError: it holds no such element.
    """
    found = re.search(re.escape(_ELEMENT) + "(.*?)</script>", page, re.DOTALL)
    if not found:
        raise ValueError(f"the page must hold an element {_ELEMENT}")
    content = json.loads(found[1])
    count, columns = content["trials"]["count"], content["trials"]["columns"]
    trials = pd.DataFrame({name: _series(column, count) for name, column in columns.items()})
    trials.attrs.update(content["attrs"])
    return content["study"], trials


def _column(values: pd.Series[Any]) -> Any:
    written = [_value(value) for value in values.tolist()]
    if pd.api.types.is_numeric_dtype(values):
        return {"float" if values.dtype.kind == "f" else "int": written}
    return {"all": written[0]} if written and all(value == written[0] for value in written) else written


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else str(value) if math.isinf(value) else value
    return None if value is None or value is pd.NA else value


def _series(column: Any, count: int) -> pd.Series[Any]:
    if isinstance(column, list):
        return pd.Series(column)
    if "all" in column:
        return pd.Series([column["all"]] * count)
    if "int" in column:
        return pd.Series(column["int"], dtype="int64")
    values = [math.nan if value is None else _INFINITE.get(value, value) for value in column["float"]]
    return pd.Series(values, dtype="float64")


def _plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False
