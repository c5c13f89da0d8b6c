"""What stands below a study's table: how to read it, and which of its figures are not what they seem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from results.breakdowns import ranking_flips
from results.disagreement import disagreement
from results.feature_spaces import feature_spaces
from results.formatting import one_line
from results.metrics import METRICS, Metric
from results.size import MARK
from results.trials import CONTROL, FINISHED, PROBE
from results.uncertainty import uncertainty

ONE_SEED_ADVICE = "one seed: no uncertainty; a study with --seeds 0 1 2 has it"
_NAMED_PAIRS = 4


def footnotes(metrics: Sequence[Metric], summary: pd.DataFrame, trials: pd.DataFrame) -> Iterator[str]:
    """The lines below the table, each without a full stop.

    Args:
        metrics: that the table shows.
        summary: as `summary.summarise` gives it for these trials.
        trials: as `trials.load_trials` gives them; `attrs["asked"]` has the variants of the command that shows them.
    """
    arrows = [f"{m.arrow} {'lower' if m.lower_is_better else 'higher'} is better" for m in metrics]
    if arrows:
        yield ", ".join(dict.fromkeys(arrows))
    if (summary["n"] > 1).any():
        yield from uncertainty(metrics, summary, trials)
    elif metrics:
        yield ONE_SEED_ADVICE
    if (trials["kind"] == CONTROL).any():
        yield "at the bottom the controls: without them the figures above say nothing"
    asked = trials.attrs.get("asked", ())
    earlier = [one_line(name) for name in trials["variant"].unique() if asked and name not in asked]
    if earlier:
        yield f"not part of this command, kept from earlier ones of this study: {', '.join(earlier)}"
    yield from _sizes(summary)
    yield from _remarks(trials)
    yield from _code(trials)
    yield from _made_with(trials)
    if "scored_images" in trials and trials["scored_images"].notna().any():
        counts = dict.fromkeys(f"{n:.0f}" for n in sorted(trials["scored_images"].dropna()))
        yield f"miou: mean over the classes that occur in the truth of {' or '.join(counts)} held-out images"
    yield from feature_spaces(metrics, trials)
    yield from disagreement(summary, metrics)
    for metric in metrics:
        yield from _published(metric, summary)
        yield from _smoke(metric, trials)
        yield from _flips(metric, summary)


def sentence(line: str) -> str:
    """A footnote with a capital and a full stop; a metric that it begins with keeps its name."""
    begins_with_metric = any(line.startswith((f"{metric.name} ", f"{metric.name}:")) for metric in METRICS)
    return (line if begins_with_metric else line[0].upper() + line[1:]) + "."


def _sizes(summary: pd.DataFrame) -> Iterator[str]:
    """By how much marked networks are not of the baseline's size: that too may be what makes a difference."""
    for variant, size in summary.drop_duplicates("variant")[["variant", "size"]].itertuples(index=False):
        if size:
            yield f"{MARK} {one_line(variant)}: {size}"


def _remarks(trials: pd.DataFrame) -> Iterator[str]:
    """What the plan said of some rows, each remark once, with the rows that it is of."""
    rows: dict[str, list[str]] = {}
    trials = trials[trials["kind"] != PROBE]  # a cell of the heat map is no row
    for variant, told in zip(trials["variant"], trials["remarks"], strict=True):
        for remark in filter(None, str(told).split("; ")):
            rows.setdefault(remark, []).append(one_line(variant))
    whole = trials["variant"].nunique()
    for remark, names in rows.items():
        named = list(dict.fromkeys(names))
        yield f"{'all rows' if 1 < len(named) == whole else ', '.join(named)}: {remark}"


def _code(trials: pd.DataFrame) -> Iterator[str]:
    """Which code made which rows, where not all are of one, and what was taken of other code."""
    done = trials[trials["status"] == FINISHED]
    codes = [str(code) for code in done["code"].unique()]
    if len(codes) > 1:
        yield f"made by different code: {'; '.join(_made_by(code, done[done['code'] == code]) for code in codes)}"
    for stages in done.loc[done["accepted_code"] != "", "accepted_code"].unique():
        yield f"by --accept-code as other code had made it ({stages}): {_names(done[done['accepted_code'] == stages])}"


def _made_with(trials: pd.DataFrame) -> Iterator[str]:
    """Which devices, threads and libraries made which rows, where not all are alike: the last digits depend on them."""
    done = trials[trials["status"] == FINISHED]
    ways = [str(way) for way in done["made_with"].unique()]
    if len(ways) > 1:
        told = [f"{_names(done[done['made_with'] == way])} with {way or 'what was not recorded'}" for way in ways]
        yield f"last digits may differ, as not all was made alike: {'; '.join(told)}"


def _made_by(code: str, rows: pd.DataFrame) -> str:
    commits = ", ".join(str(commit)[:12] or "unknown" for commit in rows["git_commit"].unique())
    return f"{_names(rows)} by {code or 'code that was not recorded'} (commit {commits})"


def _names(rows: pd.DataFrame) -> str:
    return ", ".join(one_line(str(name)) for name in rows["variant"].unique())


def _published(metric: Metric, summary: pd.DataFrame) -> Iterator[str]:
    if summary.loc[summary["metric"] == metric.name, "published"].notna().any():
        yield (
            f"paper's {metric.name}: as printed, of one training a variant, from another number of samples and "
            "against another reference; a difference from it is no test"
        )


def _smoke(metric: Metric, trials: pd.DataFrame) -> Iterator[str]:
    """From as many images as features or fewer, some directions of the features have no variance at all.

    That holds for the samples, for half of them, which the extrapolation rests on, and for the real images.
    """
    if not metric.features or not {"samples", metric.name} <= set(trials.columns):
        return
    measured = trials[(trials["status"] == FINISHED) & np.isfinite(trials[metric.name].astype(np.float64))]
    covariance = f"{metric.features}x{metric.features} covariance"
    if few := _few(measured, "samples", metric.features):
        yield f"{metric.name} from {few} samples is a smoke value: its {covariance} is singular"
    if few := _few(measured, "reference_images", metric.features):
        yield f"{metric.name} against {few} real images is a smoke value: their {covariance} is singular"
    enough = measured[measured["samples"] > metric.features]
    if few := _few(enough, "samples", 2 * metric.features + 1):
        half = f"{metric.name} at half of {few} samples, and its extrapolation, are smoke values"
        yield f"{half}: their {covariance} is singular"


def _few(measured: pd.DataFrame, counted: str, most: int) -> str:
    """'20 to 60': the counts of at most `most`; "" where there are none."""
    if counted not in measured:
        return ""
    few = measured.loc[measured[counted] <= most, counted]
    return " to ".join(dict.fromkeys(f"{n:.0f}" for n in (few.min(), few.max()))) if len(few) else ""


def _flips(metric: Metric, summary: pd.DataFrame) -> Iterator[str]:
    pairs = [f"{one_line(a)} and {one_line(b)}" for a, b in ranking_flips(summary, metric.name)]
    if pairs:
        more = [f"{len(pairs) - _NAMED_PAIRS} more pairs"] if len(pairs) > _NAMED_PAIRS else []
        named = "; ".join([*pairs[:_NAMED_PAIRS], *more])
        yield f"{metric.name}: extrapolated to infinitely many samples, {named} change places"
