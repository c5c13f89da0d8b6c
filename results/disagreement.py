"""Where two metrics of a study do not agree on whether a variant is better than the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from results.formatting import one_line
from results.metrics import Metric

_NAMED = 4
_OF_EACH_SIDE = 2
_CLAIMS = ("helps", "hurts")


def disagreement(summary: pd.DataFrame, metrics: Sequence[Metric]) -> Iterator[str]:
    """A line that names the variants which are better by one metric and worse by another; none where there are none.

    A metric whose verdict claims something is named with it: the others' signs may be chance.

    Args:
        summary: a row a variant and metric, with `variant`, `metric`, `difference` (from the baseline, NaN where there
            is none) and `verdict`.
        metrics: that are compared.
    """
    found = []
    for variant, rows in summary.groupby("variant", sort=False):
        better, worse = _sides(rows, metrics)
        if better and worse:
            found.append(f"{one_line(str(variant))} (better by {_listed(better)}; worse by {_listed(worse)})")
    if found:
        more = [f"{len(found) - _NAMED} more"] if len(found) > _NAMED else []
        yield f"metrics disagree about the sign of a difference: {', '.join([*found[:_NAMED], *more])}"


def _sides(rows: pd.DataFrame, metrics: Sequence[Metric]) -> tuple[list[str], list[str]]:
    """The metrics by which a variant is better, and those by which it is worse, in the metrics' order."""
    by_name = {str(row["metric"]): row for row in rows.to_dict("records")}
    sides: tuple[list[str], list[str]] = ([], [])
    for metric in metrics:
        row = by_name.get(metric.name)
        if row is None or not abs(row["difference"]) > 0:  # NaN is no sign either
            continue
        claim = f", {row['verdict']}" if row["verdict"] in _CLAIMS else ""
        sides[(row["difference"] < 0) != metric.lower_is_better].append(f"{metric.name}{claim}")
    return sides


def _listed(side: list[str]) -> str:
    """The first metrics of a side, those of which a verdict claims something before all others."""
    first = sorted(side, key=lambda name: "," not in name)
    more = [f"{len(side) - _OF_EACH_SIDE} more"] if len(side) > _OF_EACH_SIDE else []
    return " and ".join([*first[:_OF_EACH_SIDE], *more])
