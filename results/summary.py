"""A row per variant and metric: n, mean, spread, cost, and the difference from the baseline with its verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.alpha_spending import TAG, from_text
from results.comparisons import NOT_COMPARED, Column, Comparison, compared
from results.metrics import Metric, known
from results.size import SIZES, unlike
from results.trials import BASELINE, CONTROL, ENDED, FINISHED, PROBE, PUBLISHED, UNTESTED

SUMMARY_COLUMNS = (
    *("variant", "kind", "delta", "metric", "n", "failed", "mean", "sd"),
    *("pairs", "difference", "ci_low", "ci_high", "p", "floor", "pairing", "verdict", "level"),
    *("sd_training", "sd_sampling"),
    *("parameters", "forward_flops", "size", "wall_time_s", "gpu_s", "published"),
)
_COSTS = (*SIZES, "wall_time_s", "gpu_s")
DIFFERENCE = ("difference", "ci_low", "ci_high")  # a column of each control for each of these
_SETS = "params.sampling.sampling_repeats"


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

    `n` counts the finished trials with a finite value, `mean` and `sd` (ddof = 1) are over them; what follows `pairs`
    is `comparisons.Comparison`. The baseline, controls and probes are not tested and have no verdict. `sd_training` is
    the spread that training anew gives, `sd_sampling` that of one set of samples from one model, NaN where there is one
    set or one seed. `failed` counts FAILED trials; `parameters`, `forward_flops` (operations of the network for one
    image), `wall_time_s` and `gpu_s` (seconds) are means over finished trials, NaN where nothing was recorded; `size`
    says in words by how much the network's differs from the baseline's, where that is more than 10 %; `published` is
    what the paper prints, NaN where it prints nothing. Then, of each control that has any of the metrics,
    `difference_<control>` and the ends of its interval.

    Args:
        trials: as `trials.load_trials` gives them.
        metrics: each gives one row a variant, also where no trial has it (n = 0).
    """
    rows, baseline = [], _cost(trials[trials["variant"] == BASELINE])
    verdicts = {metric.name: _verdicts(trials, metric) for metric in metrics}
    controls = {metric.name: _against_controls(trials, metric) for metric in metrics}
    for about in variants(trials).to_dict("records"):
        own = trials[trials["variant"] == about["variant"]]
        cost = _cost(own)
        cost["size"] = unlike(cost, baseline)
        for metric in metrics:
            published = {"published": _published(own, metric)}
            said = verdicts[metric.name].get(about["variant"], dataclasses.asdict(NOT_COMPARED))
            more = _differences(controls[metric.name], about["variant"])
            rows.append(about | {"metric": metric.name} | _spread(own, metric) | said | cost | published | more)
    measured = {control: compared for those in controls.values() for control, compared in those.items()}
    return pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, *_differences(measured, "")])


def _differences(controls: Mapping[str, Mapping[str, Comparison]], variant: str) -> dict[str, float]:
    """The variant's difference from each control, with the ends of its interval."""
    found = {control: compared.get(variant, NOT_COMPARED) for control, compared in controls.items()}
    return {f"{name}_{control}": getattr(one, name) for control, one in found.items() for name in DIFFERENCE}


def from_controls(row: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """Of each control that some metric has, the difference from it and the ends of its interval, by `DIFFERENCE`.

    Args:
        row: of a summary, by column.
    """
    first = f"{DIFFERENCE[0]}_"
    controls = [column.removeprefix(first) for column in row if column.startswith(first)]
    return {control: {name: row[f"{name}_{control}"] for name in DIFFERENCE} for control in controls}


def column(trials: pd.DataFrame, metric: Metric, against: str = BASELINE) -> tuple[list[str], Column]:
    """The rows that are compared, first the one that the others are compared with, and the metric's figures in them.

    Args:
        trials: as `trials.load_trials` gives them.
        metric: which.
        against: the baseline or a control.
    """
    tested = trials[~trials["kind"].isin(UNTESTED) | (trials["variant"] == against)]
    names = [against, *(name for name in tested["variant"].unique() if name != against)]
    seeds = tuple(sorted(int(seed) for seed in tested["seed"].unique()))
    values = np.full((len(names), len(seeds)), np.nan)
    settled = np.zeros(values.shape, dtype=bool)
    for row, name in enumerate(names):
        own = tested[tested["variant"] == name]
        values[row] = _by_seed(own, metric).reindex(seeds)
        settled[row] = np.isin(seeds, own.loc[own["status"].isin(ENDED), "seed"])
    return names, Column(values, settled, seeds)


def _verdicts(trials: pd.DataFrame, metric: Metric) -> dict[str, dict[str, Any]]:
    """Of every variant that is tested, what its comparison with the baseline says."""
    return {name: dataclasses.asdict(found) for name, found in _compared(trials, metric, BASELINE)}


def _compared(trials: pd.DataFrame, metric: Metric, against: str) -> Iterator[tuple[str, Comparison]]:
    names, figures = column(trials, metric, against)
    looks = from_text(trials.attrs.get(TAG, ""))
    found = compared(figures, looks, lower_is_better=metric.lower_is_better, log_scale=metric.log_scale)
    return zip(names[1:], found, strict=True)


def _against_controls(trials: pd.DataFrame, metric: Metric) -> dict[str, dict[str, Comparison]]:
    """Of each control that has the metric, what the comparison of the baseline and each variant with it says.

    All intervals of one control hold at once in 95 % of studies, as those against the baseline do.
    """
    controls = trials.loc[trials["kind"] == CONTROL, "variant"].unique()
    measured = [str(name) for name in controls if len(_by_seed(trials[trials["variant"] == name], metric))]
    return {name: dict(_compared(trials, metric, name)) for name in measured}


def _spread(own: pd.DataFrame, metric: Metric) -> dict[str, float]:
    """Mean, SD over seeds, and its two parts: training anew, and the samples that are drawn from one model.

    A seed's figure is a mean over sets of samples, so a part of its spread is the sampling's: SD^2 / sets.
    """
    values = _by_seed(own, metric)
    sd = values.std(ddof=1)
    repeats = _by_seed(own, dataclasses.replace(metric, name=f"{metric.name}_repeats_sd"))
    sampling = float(np.sqrt((repeats**2).mean())) if len(repeats) else math.nan
    sets = pd.to_numeric(own.get(_SETS, pd.Series(dtype=np.float64)), errors="coerce").mean()
    training = math.sqrt(max(sd**2 - sampling**2 / sets, 0.0)) if sd == sd and sampling == sampling else math.nan
    return {"n": len(values), "mean": values.mean(), "sd": sd, "sd_training": training, "sd_sampling": sampling}


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
