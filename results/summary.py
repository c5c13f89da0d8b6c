"""A row per variant and metric: n, mean, spread, cost, and the difference from the baseline with its verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.metrics import Metric, known
from results.size import SIZES, unlike
from results.statistics import Comparison, compare, holm, paired_differences, verdict
from results.trials import BASELINE, CONTROL, FINISHED, PROBE, PUBLISHED, UNTESTED

SUMMARY_COLUMNS = (
    *("variant", "kind", "delta", "metric", "n", "failed", "mean", "sd"),
    *("pairs", "difference", "ci_low", "ci_high", "p", "p_holm", "verdict"),
    *("parameters", "forward_flops", "size", "wall_time_s", "gpu_s", "published"),
)
_COSTS = (*SIZES, "wall_time_s", "gpu_s")


def present_metrics(trials: pd.DataFrame) -> tuple[Metric, ...]:
    """The metrics that at least one finished trial has a finite value of: ours, then the person's own."""
    return tuple(metric for metric in known(trials) if len(_by_seed(trials, metric)))


def variants(trials: pd.DataFrame) -> pd.DataFrame:
    """The variants (variant, kind, delta) in a table's order: baseline, the others by position, the controls.

    A probe is a cell of the heat map and no row, but for one of which a trial did not finish: it stands after the
    variants, so that its failure is seen.
    """
    first = trials[(trials["kind"] != PROBE) | (trials["status"] != FINISHED)].drop_duplicates("variant")
    order = pd.DataFrame(
        {
            "kind": first["kind"].map({PROBE: 1, CONTROL: 2}).fillna(0),
            "other": first["variant"] != BASELINE,
            "position": first["position"],
        }
    )
    ordered = first.loc[order.sort_values(["kind", "other", "position"], kind="stable").index]
    return ordered[["variant", "kind", "delta"]].reset_index(drop=True)


def summarise(trials: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """A row per variant and metric, in the order of `variants`: `SUMMARY_COLUMNS`.

    `n` counts the finished trials with a finite value, `mean` and `sd` (ddof = 1) are over them; `pairs` counts the
    seeds that the baseline has too, and `difference`, its 95 % interval and `p` are over those. `p_holm` is corrected
    across the variants of one metric. The baseline, controls and probes are not tested and have no verdict. `failed`
    counts FAILED trials; `parameters`, `forward_flops` (operations of the network for one image), `wall_time_s` and
    `gpu_s` (seconds) are means over finished trials, NaN where nothing was recorded; `size` says in words by how much
    the network's differs from the baseline's, where that is more than 10 %; `published` is what the paper prints, NaN
    where it prints nothing.

    Args:
        trials: as `trials.load_trials` gives them.
        metrics: each gives one row a variant, also where no trial has it (n = 0).
    """
    rows, baseline = [], _cost(trials[trials["variant"] == BASELINE])
    for about in variants(trials).to_dict("records"):
        own = trials[trials["variant"] == about["variant"]]
        cost = _cost(own)
        cost["size"] = unlike(cost, baseline)
        for metric in metrics:
            published = {"published": _published(own, metric)}
            rows.append(about | {"metric": metric.name} | _statistics(own, trials, metric) | cost | published)
    summary = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
    for name in summary["metric"].unique():
        of_metric = summary["metric"] == name
        summary.loc[of_metric, "p_holm"] = holm(summary.loc[of_metric, "p"].to_numpy(dtype=np.float64))
    return summary


def _statistics(own: pd.DataFrame, trials: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    values = _by_seed(own, metric)
    spread = {"n": len(values), "mean": values.mean(), "sd": values.std(ddof=1)}
    if own["kind"].isin(UNTESTED).any() or (own["variant"] == BASELINE).any():
        return spread | dataclasses.asdict(Comparison(pairs=0)) | {"verdict": ""}
    baseline = _by_seed(trials[trials["variant"] == BASELINE], metric)
    comparison = compare(paired_differences(values, baseline))
    return spread | dataclasses.asdict(comparison) | {"verdict": verdict(comparison, metric.lower_is_better)}


def _by_seed(trials: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """The metric's finite values in finished trials, indexed by seed."""
    if metric.name not in trials:
        return pd.Series(dtype=np.float64)
    finished = trials[trials["status"] == FINISHED].set_index("seed")[metric.name].astype(np.float64)
    return finished[np.isfinite(finished)]


def _cost(own: pd.DataFrame) -> dict[str, Any]:
    finished = own[own["status"] == FINISHED]
    cost = {name: finished[name].mean() if name in finished else math.nan for name in _COSTS}
    return cost | {"failed": int((own["status"] == "FAILED").sum())}


def _published(own: pd.DataFrame, metric: Metric) -> float:
    name = f"{PUBLISHED}{metric.name}"
    # The trials that have it all have the same; max takes it past those that do not.
    return float(own[name].max()) if name in own else math.nan
