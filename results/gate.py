"""Whether a study shows that a variant is not worse than the baseline by more than a margin: non-inferiority, for CI.

A variant passes where the bad end of its interval lies within the margin: the upper end of the difference where lower
is better, else the lower one. The intervals are the table's, which hold at once for all variants of a metric in 95 % of
studies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from results.alpha_spending import CLAIMS_FROM
from results.formatting import interval, number
from results.metrics import Metric, known
from results.summary import variants
from results.trials import BASELINE, UNTESTED


@dataclass(frozen=True)
class Margin:
    """By how much a variant may be worse, 0 or more: in the metric's unit, or in parts of the baseline's mean."""

    value: float
    relative: bool = False

    def of(self, baseline: float) -> float:
        """The margin in the metric's unit, where the baseline's mean is this."""
        return self.value * abs(baseline) if self.relative else self.value


@dataclass(frozen=True)
class Outcome:
    """Whether the variant passes, and one line that says what was compared and why."""

    passes: bool
    line: str


def margin_of(text: str) -> Margin:
    """The margin that `2%` or `0.01` stands for.

    Raises:
        ValueError: the text is of another form, or below 0.
    """
    digits = text.strip()
    relative = digits.endswith("%")
    try:
        value = float(digits.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"must be a share of the baseline's mean, as 2%, or a number from 0 on, but got {text!r}")
    return Margin(value / 100, relative=True) if relative else Margin(value)


def gate(summary: pd.DataFrame, trials: pd.DataFrame, metric: str, variant: str, margin: Margin) -> Outcome:
    """Whether the study can say that the variant is not worse than the baseline by more than the margin.

    Args:
        summary: as `summary.summarise` gives it for these trials.
        trials: as `trials.load_trials` gives them.
        metric: one that the study has figures of.
        variant: one that is compared with the baseline.
        margin: a share is of the baseline's mean in the table.

    Raises:
        ValueError: the study has no such metric or variant; the text begins with which, and names those that it has.
    """
    listed = variants(trials)
    compared = listed.loc[~listed["kind"].isin(UNTESTED) & (listed["variant"] != BASELINE), "variant"].tolist()
    _check("variant", variant, compared)
    what = f"{metric} of {variant} against the {BASELINE}"
    if summary.empty:
        return Outcome(False, f"fail: {what}: no trial has a figure")
    _check("metric", metric, list(summary["metric"].unique()))
    rows = summary[summary["metric"] == metric].set_index("variant")
    own, baseline = rows.loc[variant].to_dict(), rows["mean"].get(BASELINE, math.nan)
    if math.isnan(own["ci_low"]):
        return Outcome(False, f"fail: {what}: no interval, {own['verdict']}; there is one from {CLAIMS_FROM} pairs on")
    (shown,) = (replace(m, digits=m.digits + 2) for m in known(trials) if m.name == metric)  # margins are narrow
    passes, why = _judged(own, margin.of(baseline), shown)
    of_mean = f" ({100 * margin.value:.4g} % of the {BASELINE}'s {number(baseline, shown)})" if margin.relative else ""
    ends = interval(own["ci_low"], own["ci_high"], shown)
    compared_as = f"{what}, {own['pairs']} pairs: {number(own['difference'], shown, sign='+')} {ends}"
    allowed = f"{number(margin.of(baseline), shown)} worse is allowed{of_mean}"
    return Outcome(passes, f"{'pass' if passes else 'fail'}: {compared_as}; {allowed}; {why}")


def _judged(row: Mapping[Any, Any], allowed: float, metric: Metric) -> tuple[bool, str]:
    """Whether the interval's bad end lies within what is allowed, and in words where it lies."""
    best, worst = (row["ci_low"], row["ci_high"]) if metric.lower_is_better else (-row["ci_high"], -row["ci_low"])
    if worst <= allowed:
        return True, f"at worst it is {number(worst, metric)} worse" if worst > 0 else "it is better"
    if best > allowed:
        return False, f"it is at least {number(best, metric)} worse"
    return False, f"it may be {number(worst, metric)} worse: the interval is too wide, and more seeds would narrow it"


def _check(what: str, name: str, allowed: list[str]) -> None:
    if name not in allowed:
        named = f"one of {', '.join(allowed)}" if allowed else "in the study, which has none"
        raise ValueError(f"{what}: must be {named}, but got {name!r}")
