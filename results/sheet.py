"""A study's table in words: what every rendering of it, on a console, in Markdown, LaTeX or HTML, says alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.statistics import TESTABLE_FROM
from results.table import CONTROL, FINISHED, MAIN_METRICS, METRICS, Metric, variants

Columns = list[tuple[str, list[str]]]  # header, and a text a row

NOTHING = "–"
TEXT_COLUMNS = ("variant", "what changed", "verdict")  # the others are numbers
ONE_SEED_ADVICE = "one seed: no uncertainty; add --seeds 0 1 2"
_ERROR_LENGTH = 300  # letters


@dataclass(frozen=True)
class Cell:
    """One metric of one variant, in words; `detail` is what qualifies the verdict."""

    value: str = NOTHING
    difference: str = ""
    interval: str = ""
    verdict: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """One variant, in words, with a line for each way in which some of its trials did not finish."""

    variant: str
    changed: str
    control: bool
    n: int
    cells: tuple[Cell, ...]
    parameters: str
    wall_time: str
    unfinished: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """The whole table in words; `several`: some variant has more than one seed, so there are intervals to show."""

    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    several: bool
    caption: tuple[str, ...]


def sheet_of(summary: pd.DataFrame, trials: pd.DataFrame) -> Sheet:
    """The table in words, with every variant of `trials`, also one that has no number at all.

    Args:
        summary: as `table.summarise` gives it for these trials.
        trials: as `table.load_trials` gives them.
    """
    names = set(summary.loc[summary["n"] > 0, "metric"])
    metrics = [m for m in MAIN_METRICS if m.name in names] or [m for m in METRICS if m.name in names]
    rows = [
        _row(variant, kind, delta, summary, trials[trials["variant"] == variant], metrics)
        for variant, kind, delta in variants(trials).itertuples(index=False)
    ]
    several = bool((summary["n"] > 1).any())
    return Sheet(tuple(metrics), tuple(rows), several, tuple(_caption(metrics, rows, several)))


def _row(
    variant: str, kind: str, delta: str, summary: pd.DataFrame, own: pd.DataFrame, metrics: Sequence[Metric]
) -> Row:
    finished = int((own["status"] == FINISHED).sum())
    numbers = {record["metric"]: record for record in summary[summary["variant"] == variant].to_dict("records")}
    if finished:
        cells = [_cell(numbers[metric.name], metric, finished) for metric in metrics]
    else:
        cells = [Cell(", ".join(own["status"].unique()))] * len(metrics)
    any_metric: dict[Any, Any] = next(iter(numbers.values()), {})
    return Row(
        variant=one_line(variant),
        changed=one_line(delta) if delta not in ("", "-") else NOTHING,
        control=kind == CONTROL,
        n=finished,
        cells=tuple(cells),
        parameters=_count(any_metric.get("parameters", math.nan)),
        wall_time=_duration(any_metric.get("wall_time_s", math.nan)),
        unfinished=(*_unfinished(own), *_notes(own)),
    )


def _cell(numbers: Mapping[Any, Any], metric: Metric, finished: int) -> Cell:
    n, pairs = numbers["n"], numbers["pairs"]
    if not n:
        return Cell()
    value = _number(numbers["mean"], metric)
    if n > 1:
        value += f" ± {_number(numbers['sd'], metric)}"
    if n != finished:
        value += f" (n={n})"
    difference = _number(numbers["difference"], metric, sign="+") if pairs else ""
    interval = f"[{_number(numbers['ci_low'], metric)}, {_number(numbers['ci_high'], metric)}]" if pairs > 1 else ""
    return Cell(value, difference, interval, numbers["verdict"], _detail(n, pairs, numbers["p_holm"]))


def _detail(n: int, pairs: int, p_holm: float) -> str:
    """The pairs where some seeds have no partner, and p where there are pairs enough for it to be small."""
    words = [f"{pairs} pairs"] if 1 < pairs < n else []
    if pairs >= TESTABLE_FROM:
        words.append(f"p {p_holm:.3f}" if p_holm >= 0.001 else "p < 0.001")
    return ", ".join(words)


def _unfinished(own: pd.DataFrame) -> Iterator[str]:
    """'seeds 0, 2 FAILED: out of memory': a line for each status and error among the trials that did not finish."""
    for (status, error), group in own[own["status"] != FINISHED].groupby(["status", "error"], sort=False):
        seeds = [str(seed) for seed in group["seed"]]
        label = f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(seeds)} {status}"
        lines = [line for line in str(error).splitlines() if line.strip()]
        yield f"{label}: {one_line(lines[-1])[:_ERROR_LENGTH]}" if lines else label


def _notes(own: pd.DataFrame) -> Iterator[str]:
    """'seed 1: GPU out of memory: ...': what the reader should know of how a finished trial's figures came about."""
    noted = own[(own["status"] == FINISHED) & (own["status_note"] != "")]
    for seed, note in zip(noted["seed"], noted["status_note"], strict=True):
        yield f"seed {seed}: {one_line(note)[:_ERROR_LENGTH]}"


def _caption(metrics: Sequence[Metric], rows: Sequence[Row], several: bool) -> Iterator[str]:
    arrows = [f"{_arrow(m)} {'lower' if m.lower_is_better else 'higher'} is better" for m in metrics]
    if arrows:
        yield ", ".join(dict.fromkeys(arrows))
    if several:
        yield "mean ± SD over seeds; Δ: mean difference from baseline, paired by seed [its 95 % interval]"
    elif metrics:
        yield ONE_SEED_ADVICE
    if any(row.control for row in rows):
        yield "at the bottom the controls: the floor and the ceiling between which the numbers above lie"


def _arrow(metric: Metric) -> str:
    return "↓" if metric.lower_is_better else "↑"


def one_line(text: str) -> str:
    """One line without control characters, which in an error's text could repaint a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _number(value: float, metric: Metric, sign: str = "-") -> str:
    return f"{value:{sign}z.{metric.digits}f}".replace("-", "−")


def _count(value: float) -> str:
    """Three digits and a unit: 512, 198 k, 35.7 M."""
    if math.isnan(value):
        return NOTHING
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:  # what three digits round up to the unit
            return f"{value / unit:#.3g}".rstrip(".") + f" {name}"
    return f"{value:.0f}"


def _duration(seconds: float) -> str:
    """0.4 s, 52 s, 1 m 52 s, 2 h 05 m."""
    if math.isnan(seconds):
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} m"
    return f"{minutes} m {rest:02} s" if minutes else f"{rest} s"


def about_columns(sheet: Sheet) -> Columns:
    """What every rendering begins with: the variant, what it changes, its n."""
    return [
        ("variant", [row.variant for row in sheet.rows]),
        ("what changed", [row.changed for row in sheet.rows]),
        ("n", [str(row.n) for row in sheet.rows]),
    ]


def metric_header(metric: Metric) -> str:
    """The metric's name and an arrow to its good side."""
    return f"{metric.name} {_arrow(metric)}"


def difference_header(sheet: Sheet) -> str:
    """Without the interval where every variant has one seed."""
    return "Δ [95 %]" if sheet.several else "Δ"


def flat_columns(sheet: Sheet) -> Columns:
    """One line a row: mean, difference and, where some variant has several seeds, verdict of each metric."""
    columns = about_columns(sheet)
    for k, metric in enumerate(sheet.metrics):
        cells = [row.cells[k] for row in sheet.rows]
        columns.append((metric_header(metric), [cell.value for cell in cells]))
        columns.append((difference_header(sheet), [joined(cell.difference, cell.interval, by=" ") for cell in cells]))
        if sheet.several:
            columns.append(("verdict", [joined(cell.verdict, cell.detail) for cell in cells]))
    return columns + cost_columns(sheet, "parameters", "wall time")


def cost_columns(sheet: Sheet, parameters: str, wall_time: str) -> Columns:
    """The parameters and the wall time, under the given headers."""
    return [
        (parameters, [row.parameters for row in sheet.rows]),
        (wall_time, [row.wall_time for row in sheet.rows]),
    ]


def joined(*texts: str, by: str = ", ") -> str:
    """The texts that are not empty."""
    return by.join(text for text in texts if text)
