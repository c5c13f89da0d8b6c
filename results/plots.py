"""Plots of a trial: its losses by step; and of a study: its heat map.

Every function returns a `matplotlib.figure.Figure` without touching pyplot's global state, so figures can be made in
any thread and nothing has to be closed.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]

_DPI = 120
_FONT = 9  # points


def loss_curve(steps: ArrayLike, loss: ArrayLike, smooth: float = 0.03) -> Figure:
    """The training loss over steps, as recorded (thin) and smoothed; on a log axis where every loss is positive.

    Args:
        steps: (N,) optimiser steps.
        loss: (N,) the loss at each; values that are not finite are left out of both lines.
        smooth: the width of the centred running mean as a share of the curve, in [0, 1); 0 draws the record alone.

    Raises:
        ValueError: smooth out of range.
    """
    if not 0 <= smooth < 1:
        raise ValueError(f"smooth must be in [0, 1), but got {smooth}")
    record = pd.Series(np.asarray(loss, dtype=np.float64), index=np.asarray(steps))
    record = record[np.isfinite(record)]
    figure, axes = _curves()
    # Thousands of noisy points hide their own trend at full strength.
    faint = 0.3 if smooth else 1.0
    axes.plot(record.index, record, color="#3b6fb6", alpha=faint, linewidth=0.8, label="each record")
    if smooth:
        # Centred: an exponential mean lags behind the fall at the start and draws a slower training than there was.
        window = max(1, round(smooth * len(record)))
        smoothed = record.rolling(window, center=True, min_periods=1).mean()
        axes.plot(record.index, smoothed, color="#1d3557", linewidth=1.6, label=f"mean of {window}")
        axes.legend(frameon=False)
    axes.set_yscale(_scale_of(record))
    return figure


def classifier_curve(steps: ArrayLike, training: ArrayLike, validation: ArrayLike | None = None) -> Figure:
    """The pixel classifier's loss by step, in training and on validation images; on a log axis where all are positive.

    Args:
        steps: (N,) optimiser steps.
        training: (N,) the loss at each, in nats.
        validation: (N,) the same on images that it is not trained on; None where there are none.
    """
    figure, axes = _curves()
    marker = "o" if len(np.atleast_1d(training)) == 1 else None  # a line needs two points
    axes.plot(steps, training, color="#1d3557", linewidth=1.6, marker=marker, label="training")
    if validation is not None:
        axes.plot(steps, validation, color="#c8553d", linewidth=1.6, marker=marker, label="validation")
    axes.legend(frameon=False)
    axes.set_yscale(_scale_of([*np.asarray(training), *np.asarray([] if validation is None else validation)]))
    return figure


def heat_map(frame: pd.DataFrame, reference: float | None = None) -> Figure:
    """The mIoU of each block at each timestep alone, each cell with its figure.

    Args:
        frame: as `breakdowns.miou_by_block_and_timestep` gives it: a row a block, from coarse to fine, a column a
            timestep; NaN for a cell that has not finished.
        reference: the mIoU of the baseline with all its blocks and timesteps; None or NaN where there is none.

    Raises:
        ValueError: a frame without cells.
    """
    if frame.empty:
        raise ValueError(f"the heat map must have cells, but got a frame of {frame.shape}")
    rows, columns = frame.shape
    size = max(5.0, 2.6 + 0.95 * columns), 1.9 + 0.5 * rows
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    values = frame.to_numpy(dtype=np.float64)
    mesh = axes.imshow(values, cmap=colormaps["viridis"].with_extremes(bad="#d9dce1"), aspect="auto")
    # As wide in a low map as in a high one; before the colours are read, as it widens the range of a single value.
    figure.colorbar(mesh, ax=axes, label="mIoU", aspect=4 * rows)
    colours = mesh.to_rgba(np.ma.masked_invalid(values))
    for (row, column), value in np.ndenumerate(values):
        text = "–" if math.isnan(value) else f"{value:.3f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=_FONT, color=legible(colours[row, column]))
    axes.set_xticks(range(columns), [str(timestep) for timestep in frame.columns])
    axes.set_yticks(range(rows), [str(block) for block in frame.index])
    axes.set(xlabel="timestep", ylabel="block, coarse to fine", title="mIoU of one block at one timestep alone")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if reference is not None and not math.isnan(reference):
        figure.supxlabel(f"the baseline, with all its blocks and timesteps: {reference:.3f}", fontsize=_FONT)
    return figure


def _curves() -> tuple[Figure, Axes]:
    """An empty figure of losses by step."""
    figure = Figure(figsize=(7, 3.2), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="training step", ylabel="loss")
    axes.margins(x=0.01)
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _scale_of(losses: ArrayLike) -> str:
    values = np.asarray(losses, dtype=np.float64)
    return "log" if values.size and (values > 0).all() else "linear"


def legible(colour: Floats) -> str:
    """Black or white, whichever stands out more from a colour (R, G, B, A) in 0..1.

    Source: WCAG 2.1, relative luminance: the contrast with white and with black is the same at 0.179.
    """
    rgb = colour[:3]
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"
