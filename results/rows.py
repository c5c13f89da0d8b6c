"""A study's table in words: what every rendering of it, on a console, in Markdown, LaTeX or HTML, says alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from results.comparisons import DESCRIPTIVE
from results.footnotes import footnotes
from results.formatting import NOTHING, count, duration, interval, joined, number, one_line, p_value
from results.metrics import Metric, read_metrics
from results.size import marked
from results.summary import from_controls, variants
from results.trials import CONTROL, FINISHED

Columns = list[tuple[str, list[str]]]  # header, and a text a row

TEXT_COLUMNS = ("variant", "what changed", "verdict")  # the others are numbers
_ERROR_LENGTH = 300  # letters


@dataclass(frozen=True)
class Cell:
    """One metric of one variant, in words; `published` is the paper's, `detail` is what qualifies the verdict."""

    value: str = NOTHING
    published: str = ""
    difference: str = ""
    interval: str = ""
    verdict: str = ""
    detail: str = ""
    against: tuple[tuple[str, str], ...] = ()  # of each control, its name and the difference from it


@dataclass(frozen=True)
class Row:
    """One variant, in words, with a line for each way in which some of its trials did not finish."""

    variant: str
    changed: str
    control: bool
    n: int
    cells: tuple[Cell, ...]
    parameters: str  # with a mark where the network is not of the baseline's size
    wall_time: str
    gpu_time: str  # with its cost where the study has a price; "" where no GPU was used
    unfinished: tuple[str, ...]


@dataclass(frozen=True)
class StudyTable:
    """The whole table in words; `several`: some variant has more than one seed, so there are intervals to show."""

    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    several: bool
    footnotes: tuple[str, ...]


def study_table(summary: pd.DataFrame, trials: pd.DataFrame) -> StudyTable:
    """The table in words, with every variant of `trials`, also one that has no number at all.

    Args:
        summary: as `summary.summarise` gives it for these trials.
        trials: as `trials.load_trials` gives them.
    """
    measured = summary[summary["n"] > 0]
    metrics = read_metrics(set(measured["metric"]), trials)
    of_controls = measured[measured["kind"] == CONTROL]
    controls = [list(of_controls.loc[of_controls["metric"] == metric.name, "variant"]) for metric in metrics]
    rows = [
        _row(variant, kind, delta, summary, trials[trials["variant"] == variant], metrics, controls)
        for variant, kind, delta in variants(trials).itertuples(index=False)
    ]
    several = bool((summary["n"] > 1).any())
    return StudyTable(tuple(metrics), tuple(rows), several, tuple(footnotes(metrics, summary, trials)))


def _row(
    variant: str, kind: str, delta: str, summary: pd.DataFrame, own: pd.DataFrame, metrics: Sequence[Metric],
    controls: Sequence[Sequence[str]],
) -> Row:  # fmt: skip
    finished = int((own["status"] == FINISHED).sum())
    numbers = {record["metric"]: record for record in summary[summary["variant"] == variant].to_dict("records")}
    nothing = NOTHING if finished else ", ".join(own["status"].unique())
    cells = [
        replace(
            _cell(numbers[metric.name], metric, finished, nothing),
            against=tuple(_against(numbers[metric.name], metric, those)),
        )
        for metric, those in zip(metrics, controls, strict=True)
    ]
    any_metric: dict[Any, Any] = next(iter(numbers.values()), {})
    return Row(
        variant=one_line(variant),
        changed=one_line(delta) if delta not in ("", "-") else NOTHING,
        control=kind == CONTROL,
        n=finished,
        cells=tuple(cells),
        parameters=marked(count(any_metric.get("parameters", math.nan)), any_metric.get("size", "")),
        wall_time=duration(any_metric.get("wall_time_s", math.nan)),
        gpu_time=_gpu_time(any_metric.get("gpu_s", math.nan), own.attrs.get("gpu_hour_price", 0.0)),
        unfinished=(*_unfinished(own), *_notes(own)),
    )


def _gpu_time(gpu_s: float, gpu_hour_price: float) -> str:
    if not gpu_s > 0:
        return ""
    cost = f", cost {gpu_s / 3600 * gpu_hour_price:.2f}" if gpu_hour_price else ""
    return duration(gpu_s) + cost


def _cell(numbers: Mapping[Any, Any], metric: Metric, finished: int, nothing: str) -> Cell:
    n, pairs = numbers["n"], numbers["pairs"]
    # As printed: the metric's own decimals would cut the paper's or add to them.
    published = "" if math.isnan(numbers["published"]) else str(numbers["published"])
    if not n:
        return Cell(nothing, published)
    value = number(numbers["mean"], metric)
    if n > 1:
        value += f" ± {number(numbers['sd'], metric)}"
    if n != finished:
        value += f" (n={n})"
    difference = number(numbers["difference"], metric, sign="+") if pairs else ""
    tested = not math.isnan(numbers["p"])
    ends = interval(numbers["ci_low"], numbers["ci_high"], metric) if tested else ""
    return Cell(value, published, difference, ends, numbers["verdict"], _detail(numbers, metric))


def _against(numbers: Mapping[Any, Any], metric: Metric, controls: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Of each control, its name and the difference from it with its interval, as far as the pairs allow."""
    found = from_controls(numbers)
    for control in controls:
        difference, low, high = found[control].values()
        told = "" if math.isnan(difference) else number(difference, metric, sign="+")
        yield control, joined(told, "" if math.isnan(low) else interval(low, high, metric), by=" ")


def _detail(numbers: Mapping[Any, Any], metric: Metric) -> str:
    """What qualifies the verdict: the pairs where some seeds have no partner, the claim's level or the floor, and p."""
    words = [f"{numbers['pairs']} pairs"] if 1 < numbers["pairs"] < numbers["n"] else []
    if math.isnan(numbers["p"]):
        return ", ".join(words)
    claimed = numbers["level"] != DESCRIPTIVE
    words.append(numbers["level"] if claimed else f"floor {number(numbers['floor'], metric)}")
    words.append(f"p {p_value(numbers['p'])}")
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


def about_columns(table: StudyTable) -> Columns:
    """What every rendering begins with: the variant, what it changes, its n."""
    return [
        ("variant", [row.variant for row in table.rows]),
        ("what changed", [row.changed for row in table.rows]),
        ("n", [str(row.n) for row in table.rows]),
    ]


def metric_header(metric: Metric) -> str:
    """The metric's name and an arrow to its good side."""
    return f"{metric.name} {metric.arrow}"


def published_columns(table: StudyTable, k: int) -> Columns:
    """The paper's figures of the table's metric `k`; no column where it prints none."""
    figures = [row.cells[k].published for row in table.rows]
    return [(f"paper's {table.metrics[k].name}", [text or NOTHING for text in figures])] if any(figures) else []


def difference_header(table: StudyTable) -> str:
    """Without the interval where every variant has one seed."""
    return "Δ [95 %]" if table.several else "Δ"


def flat_columns(table: StudyTable) -> Columns:
    """One line a row: of each metric the mean, the paper's figure, the difference and, with several seeds, verdict."""
    columns = about_columns(table)
    for k, metric in enumerate(table.metrics):
        cells = [row.cells[k] for row in table.rows]
        columns += [(metric_header(metric), [cell.value for cell in cells]), *published_columns(table, k)]
        columns.append((difference_header(table), [joined(cell.difference, cell.interval, by=" ") for cell in cells]))
        if table.several:
            columns.append(("verdict", [joined(cell.verdict, cell.detail) for cell in cells]))
        for c, (control, _) in enumerate(cells[0].against):
            columns.append((f"Δ {one_line(control)}", [cell.against[c][1] for cell in cells]))
    return columns + cost_columns(table, "parameters", "wall time")


def cost_columns(table: StudyTable, parameters: str, wall_time: str) -> Columns:
    """The parameters and the wall time, under the given headers."""
    return [
        (parameters, [row.parameters for row in table.rows]),
        (wall_time, [row.wall_time for row in table.rows]),
        *gpu_columns(table),
    ]


def gpu_columns(table: StudyTable) -> Columns:
    """The GPU time of a trial, where some trial used a GPU."""
    return [("GPU time", [row.gpu_time for row in table.rows])] if any(row.gpu_time for row in table.rows) else []
