"""What a variant's one mean hides, as tables: the IoU by class, the distances by samples, the mIoU by block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps

from results.breakdowns import fid_by_samples, iou_by_class, miou_by_block_and_timestep
from results.formatting import NOTHING, number, one_line
from results.metrics import FRECHET_METRICS, METRICS, Metric
from results.page.elements import cell, escaped, note, section, table
from results.plots import legible
from results.summary import variants
from results.trials import BASELINE, CONTROL, FINISHED

_MIOU = next(metric for metric in METRICS if metric.name == "miou")


def iou_section(trials: pd.DataFrame) -> str:
    """The IoU of each class; in bold the best of each, the controls aside."""
    iou = iou_by_class(trials)
    best = iou[~_are_controls(iou, trials)].max()

    def bold(value: float, best: float) -> str:
        text = _or_nothing(value, _MIOU)
        return cell(f"<b>{text}</b>" if value == best else text, _finite(value))

    cells = {str(name): [bold(value, best[str(name)]) for value in values] for name, values in iou.items()}
    reading = (
        f"Mean over the n seeds. {NOTHING}: the class does not occur in the truth. Bold: the best of the "
        "class, the controls aside."
    )
    return _section("IoU by class", iou, cells, reading, trials)


def fid_section(trials: pd.DataFrame) -> str:
    """What the number of samples does to the Frechet distances."""
    fid = fid_by_samples(trials)
    cells = {"samples N": [cell(f"{samples:.0f}", samples) for samples in fid.get("samples", [])]}
    for metric in FRECHET_METRICS:
        for suffix, header in (("_half", "at N/2"), ("", "at N"), ("_extrapolated", "extrapolated")):
            if (name := f"{metric.name}{suffix}") in fid:
                said = _or_at_most_0 if suffix == "_extrapolated" else _or_nothing
                cells[f"{metric.name} {header}"] = [cell(said(value, metric), _finite(value)) for value in fid[name]]
    reading = (
        "Mean over the n seeds. Extrapolated: linearly in 1/N, from N/2 and N to infinitely many samples "
        "(Chong & Forsyth 2020); ≤ 0 where the line falls below zero, as no distance does: too few samples to tell."
    )
    return _section("FID and the number of samples", fid, cells, reading, trials)


def heat_section(trials: pd.DataFrame, summary: pd.DataFrame) -> str:
    """The mIoU of each block at each timestep alone, each cell with its figure in its colour."""
    cells = miou_by_block_and_timestep(trials)
    if cells.empty:
        return ""
    values = cells.to_numpy(dtype=np.float64)
    low, high = np.nanmin(values), np.nanmax(values)
    colours = colormaps["viridis"]((values - low) / ((high - low) or 1.0))
    rows = [
        [
            cell(escaped(block), float(str(block))),
            *(_heat(*pair) for pair in zip(row, tints, strict=True)),
        ]
        for block, row, tints in zip(cells.index, values, colours, strict=True)
    ]
    heads = [f"t = {timestep}" for timestep in cells.columns]
    whole = summary.loc[(summary["variant"] == BASELINE) & (summary["metric"] == "miou"), "mean"]
    beside = (
        f" The baseline, with all its blocks and timesteps: {number(float(whole.iloc[0]), _MIOU)}."
        if len(whole)
        else ""
    )
    reading = note(f"Mean over seeds; blocks from coarse to fine. {NOTHING}: no trial of it finished.{beside}")
    title = "mIoU of one block at one timestep alone"
    return section(title, table(["block", *heads], rows, [False] * len(rows)), reading)


def _heat(value: float, colour: Sequence[float]) -> str:
    if math.isnan(value):
        return cell(NOTHING, kind="heat")
    background = "#" + bytes(round(255 * part) for part in colour[:3]).hex()
    style = f"background:{background};color:{legible(np.asarray(colour))}"
    return f'<td class="heat" style="{style}" data-sort="{value:.10g}">{number(value, _MIOU)}</td>'


def _or_nothing(value: float, metric: Metric) -> str:
    return NOTHING if math.isnan(value) else number(value, metric)


def _or_at_most_0(value: float, metric: Metric) -> str:
    return "≤ 0" if value == 0 else _or_nothing(value, metric)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _section(
    title: str, breakdown: pd.DataFrame, cells: Mapping[str, Sequence[str]], reading: str, trials: pd.DataFrame
) -> str:
    """A breakdown of the trials as a table with a note; "" where it is empty.

    Args:
        breakdown: a row a variant.
        cells: header -> a td a row of `breakdown`.
    """
    if breakdown.empty:
        return ""
    n = trials.loc[trials["status"] == FINISHED, "variant"].value_counts()
    about = [[cell(escaped(one_line(name))), cell(str(n[name]), float(n[name]))] for name in breakdown.index]
    rows = [[*texts, *(column[i] for column in cells.values())] for i, texts in enumerate(about)]
    return section(
        title, table(["variant", "n", *cells], rows, _are_controls(breakdown, trials).tolist()), note(reading)
    )


def _are_controls(breakdown: pd.DataFrame, trials: pd.DataFrame) -> pd.Series[bool]:
    kinds = variants(trials).set_index("variant")["kind"]
    return kinds.reindex(breakdown.index) == CONTROL
