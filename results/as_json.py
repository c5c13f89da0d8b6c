"""A study's table as one JSON object, for programs: numbers as they are, and null where there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.alpha_spending import TAG, from_text
from results.metrics import known
from results.summary import DIFFERENCE, from_controls

ROW = (
    *("variant", "metric", "n", "mean", "sd", "difference", "ci_low", "ci_high", "p", "verdict", "level"),
    *("kind", "delta", "pairs", "floor", "pairing", "sd_training", "sd_sampling", "failed"),
    *("parameters", "forward_flops", "wall_time_s", "gpu_s", "published"),
)
_TRIAL = ("variant", "seed", "kind", "status", "error", "run_id")


def study_object(study: str, summary: pd.DataFrame, trials: pd.DataFrame) -> dict[str, Any]:
    """The study as `json.dumps` takes it: a number that is not finite is None, and so is a word that is not there.

    `planned_seeds` are those of the study's plan, None where none was recorded, and `looks` is every look at its table
    (seeds, the share `alpha` of the 5 % that it spends, whether it was planned). `metrics` maps each metric to its good
    direction and to whether variants are compared by ratios. `rows` has `ROW` of each variant and metric, and below
    `against` its `difference`, `ci_low` and `ci_high` from each control. `trials` has each trial's status and its
    figures, of which the rows' are means.

    Args:
        study: its name.
        summary: as `summary.summarise` gives it for these trials.
        trials: as `trials.load_trials` gives them.
    """
    looks = [*from_text(trials.attrs.get(TAG, ""))]
    names = list(summary["metric"].unique())
    metrics = {m.name: {"lower_is_better": m.lower_is_better, "log_scale": m.log_scale} for m in known(trials)}
    return {
        "study": study,
        "planned_seeds": next((sorted(look.seeds) for look in looks if look.planned), None),
        "looks": [{"seeds": sorted(k.seeds), "alpha": k.alpha, "planned": k.planned} for k in looks],
        "metrics": {name: metrics[name] for name in names},
        "rows": [_plain(row, ROW) | {"against": _against(row)} for row in summary.to_dict("records")],
        "trials": [_plain(row, (*_TRIAL, *names)) for row in trials.to_dict("records")],
    }


def as_json(study: str, summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """The text of `study_object`, in ASCII, with a line's end."""
    return json.dumps(study_object(study, summary, trials), indent=1, allow_nan=False) + "\n"


def _against(row: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    return {control: _plain(found, DIFFERENCE) for control, found in from_controls(row).items()}


def _plain(row: Mapping[Any, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _value(row[name]) for name in names}


def _value(value: Any) -> str | int | float | None:
    if isinstance(value, str):
        return value or None
    number = value.item() if hasattr(value, "item") else value  # of numpy's numbers
    if isinstance(number, int):
        return number
    return float(number) if math.isfinite(number) else None
