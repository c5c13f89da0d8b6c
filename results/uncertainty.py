"""What a table says of its own certainty: how its intervals are to be read, and which spread they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from results.alpha_spending import ALPHA, CLAIMS_FROM, TAG, Look, from_text
from results.comparisons import DESCRIPTIVE, SUPPORTED
from results.formatting import number
from results.metrics import Metric


def uncertainty(metrics: Sequence[Metric], summary: pd.DataFrame, trials: pd.DataFrame) -> Iterator[str]:
    """The lines below a table of several seeds, each without a full stop.

    Args:
        metrics: that the table shows.
        summary: as `summary.summarise` gives it for these trials.
        trials: as `trials.load_trials` gives them.
    """
    yield "mean ± SD over seeds; Δ: mean difference from baseline over the seeds of both"
    shown = summary[summary["metric"].isin([metric.name for metric in metrics])]
    if shown["p"].notna().any():
        yield (
            f"[]: interval; all of a metric's column hold at once in {1 - ALPHA:.0%} of studies, so helps and hurts "
            "are said wrongly in at most one study of twenty"
        )
        yield from _levels(shown)
        if ratios := [metric.name for metric in metrics if metric.log_scale and _tested(summary, metric)]:
            yield f"compared by ratios, shown at the baseline's level: {', '.join(ratios)}"
    else:
        yield f"nothing is claimed of fewer than {CLAIMS_FROM} seeds"
    yield from _looks([*from_text(trials.attrs.get(TAG, ""))])
    for metric in metrics:
        yield from _spreads(metric, summary)


def _tested(summary: pd.DataFrame, metric: Metric) -> bool:
    return bool(summary.loc[summary["metric"] == metric.name, "p"].notna().any())


def _levels(shown: pd.DataFrame) -> Iterator[str]:
    claimed = shown.loc[shown["p"].notna(), "level"]
    if (claimed != DESCRIPTIVE).any():
        yield "confirmed: by all the seeds that were planned; supported: by others"
    if (claimed == DESCRIPTIVE).any():
        yield "floor: the smallest difference that this study could have told from none"


def _looks(looks: Sequence[Look]) -> Iterator[str]:
    """Where a table was looked at with more seeds than were planned, what that costs."""
    told = [f"{len(look.seeds)} seeds{' (planned)' if look.planned else ''} at {look.alpha:.2%}" for look in looks]
    if len(told) > 1:
        yield f"looked at with {', '.join(told)}: each look has one more chance to err, and they share {ALPHA:.0%}"
    elif told and not looks[0].planned:
        unplanned = "seeds were asked for when there were results already"
        yield f"{unplanned}: claims are at most {SUPPORTED}, at {looks[0].alpha:.2%}"


def _spreads(metric: Metric, summary: pd.DataFrame) -> Iterator[str]:
    """How far training anew moves the metric, how far sampling anew does, and what pairing by seed gained."""
    own = summary[(summary["metric"] == metric.name) & (summary["kind"] != "control")]
    training, sampling = _pooled(own["sd_training"]), _pooled(own["sd_sampling"])
    told = []
    if training > 0 and sampling > 0:
        told.append(
            f"training anew moves it by {number(training, metric)} (SD), sampling anew by {number(sampling, metric)}: "
            f"{training / sampling:.1f} times as much"
        )
    gained = own["pairing"].max()
    if gained > 1:
        told.append(f"without pairing by seed it would take {gained:.1f} times as many seeds")
    if told:
        yield f"{metric.name}: {'; '.join(told)}"


def _pooled(sds: pd.Series[float]) -> float:
    known = sds.dropna().to_numpy(dtype=np.float64)
    return math.sqrt(float(np.mean(known**2))) if len(known) else math.nan
