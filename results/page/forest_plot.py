"""The forest plot: each variant's difference from the baseline with its interval and the dots of its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.comparisons import CONFIRMED, SUPPORTED
from results.formatting import joined, number, one_line
from results.metrics import Metric
from results.page import svg
from results.page.elements import identifier, note, section
from results.page.svg import Scale
from results.rows import Cell, StudyTable
from results.trials import BASELINE, FINISHED

_ROW, _TOP, _BOTTOM = 38, 46, 44  # units
_PLOT, _VALUES, _LONGEST = 230, 168, 22  # units, units, letters of a name
LEVELS = (CONFIRMED, SUPPORTED)
_FAR = 5.0  # a variant this many times as far off as the middle one is drawn at the edge
_WIDE = 0.75  # of the dots' range: so far an interval may reach beyond it


@dataclass(frozen=True)
class _Variant:
    """One row: its words in the table, its numbers in the summary, its differences by seed."""

    name: str
    cell: Cell
    difference: float
    low: float
    high: float
    floor: float
    seeds: dict[int, float]

    @property
    def words(self) -> str:
        return joined(self.cell.difference, self.cell.interval, by=" ")

    @property
    def verdict(self) -> str:
        """With the claim's level, or the floor; the rest of what qualifies it is in the table."""
        told = [word for word in self.cell.detail.split(", ") if word in LEVELS or word.startswith("floor")]
        return joined(self.cell.verdict.split(":")[0], *told)


def forest_plots(table: StudyTable, summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """A section with a plot a metric; "" where no variant has a seed that the baseline has too.

    Args:
        table: the study in words.
        summary: as `summary.summarise` gives it.
        trials: as `trials.load_trials` gives them.
    """
    plots = [_plot(k, metric, table, summary, trials) for k, metric in enumerate(table.metrics)]
    plots = [plot for plot in plots if plot]
    if not plots:
        return ""
    beside = f'<div class="beside">{"".join(f"<figure>{plot}</figure>" for plot in plots)}</div>'
    interval = "with its interval; " if summary["ci_low"].notna().any() else ""
    floor = " Grey: differences too small for this study to see." if summary["floor"].notna().any() else ""
    reading = (
        f"Each variant's mean difference from the baseline, {interval}a dot is one seed's. Left of the line at 0 the "
        f"figure is lower than the baseline's. A full mark: the verdict is helps or hurts.{floor}"
    )
    return section("Differences from the baseline", beside, note(reading))


def differences_by_seed(trials: pd.DataFrame, metric: str) -> dict[str, dict[int, float]]:
    """Variant -> seed -> variant minus baseline, of every seed that has a finite value of both, by rising seed.

    Args:
        trials: as `trials.load_trials` gives them.
        metric: a metric's name.
    """
    values: dict[str, dict[int, float]] = {}
    for variant, seed, value in trials.loc[trials["status"] == FINISHED, ["variant", "seed", metric]].to_numpy():
        if math.isfinite(value):
            values.setdefault(variant, {})[int(seed)] = float(value)
    base = values.get(BASELINE, {})
    return {name: {s: own[s] - base[s] for s in sorted(own.keys() & base.keys())} for name, own in values.items()}


def _variants(k: int, metric: Metric, table: StudyTable, summary: pd.DataFrame, trials: pd.DataFrame) -> list[_Variant]:
    cells = {row.variant: row.cells[k] for row in table.rows}
    by_seed = differences_by_seed(trials, metric.name)
    of_metric = summary[(summary["metric"] == metric.name) & (summary["pairs"] > 0)]
    columns = (of_metric[name] for name in ("variant", "difference", "ci_low", "ci_high", "floor"))
    return [
        _Variant(one_line(name), cells[one_line(name)], difference, low, high, floor, by_seed[name])
        for name, difference, low, high, floor in zip(*columns, strict=True)
    ]


def _plot(k: int, metric: Metric, table: StudyTable, summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    shown = _variants(k, metric, table, summary, trials)
    if not shown:
        return ""
    labels = min(_LONGEST, max(len(variant.name) for variant in shown)) * svg.LETTER + 12
    low, high = _range(shown)
    scale = Scale(low, high, labels, labels + _PLOT)
    width, height = labels + _PLOT + _VALUES, _TOP + _ROW * len(shown) + _BOTTOM
    baseline = next((row.cells[k].value for row in table.rows if row.variant == BASELINE), "")
    told = "; ".join(f"{v.name} {joined(v.words, v.cell.verdict, v.cell.detail)}" for v in shown)
    seeds = "; ".join(f"{v.name} {', '.join(number(d, metric, '+') for d in v.seeds.values())}" for v in shown)
    marks = list(_axis(metric, scale, len(shown), baseline, any(not math.isnan(v.low) for v in shown)))
    marks += [mark for i, variant in enumerate(shown) for mark in _row(i, variant, metric, scale)]
    return svg.picture(
        identifier("forest", metric.name),
        width,
        height,
        f"{metric.name}: difference of each variant from the baseline, {baseline}",
        f"{told}. By seed: {seeds}.",
        marks,
        "forest",
    )


def _range(shown: Sequence[_Variant]) -> tuple[float, float]:
    """What the axis spans: 0 and every dot, but for variants that are far off all the others."""
    reach = {v.name: max(abs(d) for d in [*v.seeds.values(), v.difference]) for v in shown}
    limit = _FAR * float(np.median(list(reach.values()))) if len(shown) > 2 else math.inf
    dots = [d for v in shown for d in [*v.seeds.values(), v.difference] if reach[v.name] <= limit] or [0.0]
    low, high = min(0.0, *dots), max(0.0, *dots)
    if low == high:
        low, high = -1.0, 1.0
    more = _WIDE * (high - low)
    ends = [end for v in shown for end in (v.low, v.high) if not math.isnan(end) and reach[v.name] <= limit]
    low, high = max(low - more, min([low, *ends])), min(high + more, max([high, *ends]))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _axis(metric: Metric, scale: Scale, rows: int, baseline: str, intervals: bool) -> Iterator[str]:
    bottom = _TOP + _ROW * rows
    yield svg.text(0, 16, f"{metric.name} {metric.arrow}", "head")
    for tick in scale.ticks(4):
        if tick:
            yield svg.line(scale(tick), _TOP, scale(tick), bottom, "grid")
        yield svg.text(scale(tick), bottom + 16, svg.tick_label(tick, sign=True), "tick", "middle")
    if intervals:
        yield svg.text(scale.end + 12, _TOP - 11, "Δ [interval]", "tick")
    yield svg.line(scale(0), _TOP - 6, scale(0), bottom, "zero")
    at = min(max(scale(0), scale.start + 45), scale.end - 45)
    yield svg.text(at, _TOP - 11, f"baseline {baseline}", "tick", "middle")
    better, worse = ("← better", "worse →") if metric.lower_is_better else ("← worse", "better →")
    yield svg.text(scale.start, bottom + 34, better, "tick")
    yield svg.text(scale.end, bottom + 34, worse, "tick", "end")


def _row(i: int, variant: _Variant, metric: Metric, scale: Scale) -> Iterator[str]:
    middle = _TOP + _ROW * (i + 0.5)
    word = variant.cell.verdict if variant.cell.verdict in ("helps", "hurts") else "open"
    if word == "open" and not math.isnan(variant.floor):
        ends = [min(max(end, scale.low), scale.high) for end in (-variant.floor, variant.floor)]
        yield svg.box(scale(ends[0]), middle - 13, scale(ends[1]), middle + 15, "floor")
    yield svg.text(0, middle + 4, svg.shortened(variant.name, _LONGEST), "name", full=variant.name)
    if not math.isnan(variant.low):
        ends = [min(max(end, scale.low), scale.high) for end in (variant.low, variant.high)]
        yield svg.line(scale(ends[0]), middle, scale(ends[1]), middle, f"interval {word}")
        yield from (_end(end, scale, middle, word) for end in (variant.low, variant.high))
    for seed, difference in variant.seeds.items():
        if scale.inside(difference):
            words = f"{variant.name}, seed {seed}: {number(difference, metric, '+')}"
            yield svg.circle(scale(difference), middle + 9, 2.8, "seed", words)
    if scale.inside(variant.difference):
        yield svg.circle(scale(variant.difference), middle, 5, f"mark {word}", f"{variant.name}: {variant.words}")
    else:
        yield _arrow(variant.difference > 0, scale, middle, word)
    yield svg.text(scale.end + 12, middle - 2, variant.words, "value")
    yield svg.text(scale.end + 12, middle + 12, variant.verdict, f"verdict {word}")


def _end(end: float, scale: Scale, middle: float, word: str) -> str:
    """An interval's end: a stroke, or an arrow where it lies beyond the axis."""
    if scale.inside(end):
        return svg.line(scale(end), middle - 4, scale(end), middle + 4, f"interval {word}")
    return _arrow(end > scale.high, scale, middle, word)


def _arrow(right: bool, scale: Scale, middle: float, word: str) -> str:
    tip, back = (scale.end + 6, scale.end - 2) if right else (scale.start - 6, scale.start + 2)
    return svg.path([(tip, middle), (back, middle - 5), (back, middle + 5)], f"arrow {word}", closed=True)
