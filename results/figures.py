"""Pictures of a trial: sample grids, denoising strips, masks, loss curves; and of a study: its heat map.

Every function returns a `matplotlib.figure.Figure` without touching pyplot's global state, so figures can be made in
any thread and nothing has to be closed. Images are enlarged by whole factors and laid out pixel by pixel: saved at
the figure's own dpi (`figure.savefig(path)`), no image pixel is resampled.

Shapes: N images, S steps, H x W pixels, C channels (1 grey or 3 RGB); all image values are uint8, 0..255.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.integer]
Floats = NDArray[np.floating]

MAX_TILES = 128
MAX_MASKS = 8

_DPI = 100
_WIDTH = 1024  # output pixels that a grid is enlarged to at most, unless its own pixels are more
_GAP = 2  # output pixels between tiles
_TITLE = 22  # output pixels above the tiles
_FONT = 9  # points

_BACKGROUND = (28, 30, 38)
_IGNORED = ((120, 120, 120), (172, 172, 172))  # the two stripes
_WRONG = (255, 40, 40)
_HEAT = colormaps["hot"].with_extremes(bad="#787878")  # the colours of a black body
_FULL_HEAT = math.log(2)  # nats: where two halves of an ensemble are each sure of another class
# Trubetskoy's list of distinct colours without its red, greys and near-blacks: they mean wrong, ignored, background.
_DISTINCT = (
    *("#3cb44b", "#ffe119", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#bfef45", "#9a6324", "#fabed4"),
    *("#469990", "#911eb4", "#fffac8", "#dcbeff", "#800000", "#aaffc3", "#808000"),
)


def palette(classes: int) -> Images:
    """The colours of `classes` classes, (classes, 3): class 0, the background, dark; a class's colour never changes.

    Past the hand-picked 16, hues go on by the golden angle in two brightnesses: distinct, but no longer at a glance.
    """
    picked = [tuple(bytes.fromhex(colour[1:])) for colour in _DISTINCT]
    more = [
        tuple(round(255 * v) for v in colorsys.hsv_to_rgb(0.618034 * (i + 1) % 1, 0.55, (0.95, 0.6)[i % 2]))
        for i in range(max(0, classes - 1 - len(picked)))
    ]
    return np.array([_BACKGROUND, *picked, *more][:classes], dtype=np.uint8).reshape(-1, 3)


def sample_grid(images: Images, columns: int = 16) -> Figure:
    """A grid of the first `MAX_TILES` images, row by row.

    Args:
        images: (N, H, W, C) uint8, N >= 1.
        columns: tiles a row, >= 1.

    Raises:
        ValueError: images of another shape or type.
    """
    tiles = _rgb(images, "images")[:MAX_TILES]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    grid = np.full((rows * columns, *tiles.shape[1:]), 255, dtype=np.uint8)
    grid[: len(tiles)] = tiles
    scale = _scale(tiles.shape[2], columns, largest=96)
    return _figure(_mosaic(_enlarge(grid, scale).reshape(rows, columns, *_enlarged(tiles, scale))))


def denoising_strip(frames: Images, timesteps: Sequence[int]) -> Figure:
    """The way from noise to image: a row an image, a column a timestep with its title `t=999`.

    Args:
        frames: (S, N, H, W, C) uint8, in the order of `timesteps`.
        timesteps: (S,) what each column is; -1 is the clean image, x_0.

    Raises:
        ValueError: frames of another shape or type, or not one frame a timestep.
    """
    if frames.ndim != 5 or len(frames) != len(timesteps):
        raise ValueError(f"frames must be ({len(timesteps)}, N, H, W, C), one a timestep, but got {frames.shape}")
    steps, images = frames.shape[:2]
    flat = _rgb(frames.swapaxes(0, 1).reshape(-1, *frames.shape[2:]), "frames")
    scale = _scale(flat.shape[2], steps, smallest=56)
    mosaic = _mosaic(_enlarge(flat, scale).reshape(images, steps, *_enlarged(flat, scale)))
    return _figure(mosaic, titles=["x_0" if t < 0 else f"t={t}" for t in timesteps])


def masks(
    images: Images,
    truth: Labels,
    predicted: Labels,
    class_names: Sequence[str],
    ignore_index: int = 255,
    disagreement: Floats | None = None,
) -> Figure:
    """The first `MAX_MASKS` images: image | truth | prediction | where they differ, over a legend of their classes.

    Class 0 is drawn dark, as background. Ignored pixels are striped grey in the truth and do not count as different.
    The disagreement, where it is given, is a fifth column, in the same colours in every picture: black at 0, white
    from ln 2 on, grey where it is no number.

    Args:
        images: (N, H, W, C) uint8.
        truth: (N, H, W) class indices below len(class_names), or `ignore_index`.
        predicted: (N, H, W) class indices; `ignore_index` is allowed and drawn likewise.
        class_names: the classes' names by index.
        ignore_index: the label of pixels without truth.
        disagreement: (N, H, W) Jensen-Shannon divergence between the members of an ensemble, in nats, >= 0.

    Raises:
        ValueError: shapes that do not belong together, or a label that is no class.
    """
    tiles = _rgb(images, "images")[:MAX_MASKS]
    if disagreement is not None and disagreement.shape != images.shape[:3]:
        raise ValueError(f"disagreement must have the images' shape {images.shape[:3]}, but got {disagreement.shape}")
    truth, predicted = (
        _checked_labels(labels, images.shape[:3], len(class_names), ignore_index)[:MAX_MASKS]
        for labels in (truth, predicted)
    )
    titles = ["image", "truth", "prediction", "where they differ"]
    scale = _scale(tiles.shape[2], len(titles), smallest=112, largest=128)
    image = _enlarge(tiles, scale)
    truth, predicted = (labels.repeat(scale, 1).repeat(scale, 2) for labels in (truth, predicted))
    colours = palette(len(class_names))
    panels = [
        image,
        *(_paint(labels, colours, ignore_index) for labels in (truth, predicted)),
        _differences(image, truth, predicted, ignore_index),
    ]
    shown = np.union1d(truth, predicted)
    legend = [_patch(colours[i], class_names[i]) for i in shown if i != ignore_index]
    if ignore_index in shown:
        legend.append(Patch(facecolor=_hex(_IGNORED[0]), edgecolor=_hex(_IGNORED[1]), hatch="////", label="ignored"))
    legend.append(_patch(_WRONG, "differs"))
    if disagreement is not None:
        titles.append("disagreement")
        panels.append(_enlarge(_heat(disagreement[:MAX_MASKS]), scale))
        ends = {"disagreement 0": 0, "disagreement ln 2": _FULL_HEAT}
        legend += [_patch(_heat(np.array(nats)), text) for text, nats in ends.items()]
    return _figure(_mosaic(np.stack(panels, 1)), titles, legend)


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
        frame: as `table.heat_map` gives it: a row a block, from coarse to fine, a column a timestep; NaN for a cell
            that has not finished.
        reference: the mIoU of the baseline with all its blocks and timesteps; None or NaN where there is none.

    Raises:
        ValueError: a frame without cells.
    """
    if frame.empty:
        raise ValueError(f"the heat map must have cells, but got a frame of {frame.shape}")
    rows, columns = frame.shape
    size = max(5.0, 2.6 + 0.95 * columns), 1.9 + 0.5 * rows
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.add_subplot()
    values = frame.to_numpy(dtype=np.float64)
    mesh = axes.imshow(values, cmap=colormaps["viridis"].with_extremes(bad="#d9dce1"), aspect="auto")
    # As wide in a low map as in a high one; before the colours are read, as it widens the range of a single value.
    figure.colorbar(mesh, ax=axes, label="mIoU", aspect=4 * rows)
    colours = mesh.to_rgba(np.ma.masked_invalid(values))
    for (row, column), value in np.ndenumerate(values):
        text = "–" if math.isnan(value) else f"{value:.3f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=_FONT, color=_legible(colours[row, column]))
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
    figure = Figure(figsize=(7, 3.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="training step", ylabel="loss")
    axes.margins(x=0.01)
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _scale_of(losses: ArrayLike) -> str:
    values = np.asarray(losses, dtype=np.float64)
    return "log" if values.size and (values > 0).all() else "linear"


def _legible(colour: Floats) -> str:
    """Black or white, whichever stands out more from a colour (R, G, B, A) in 0..1.

    Source: WCAG 2.1, relative luminance: the contrast with white and with black is the same at 0.179.
    """
    rgb = colour[:3]
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"


def _rgb(images: Images, name: str) -> Images:
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8 or not images.size:
        raise ValueError(f"{name} must be uint8 images (N, H, W, 1 or 3), but got {images.dtype} {images.shape}")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _checked_labels(labels: Labels, shape: tuple[int, ...], classes: int, ignore_index: int) -> Labels:
    if labels.shape != shape:
        raise ValueError(f"labels must have the images' shape {shape}, but got {labels.shape}")
    strange = np.setdiff1d(labels, [*range(classes), ignore_index])
    if len(strange):
        raise ValueError(f"labels must be below {classes} or {ignore_index}, but got {strange.tolist()}")
    return labels


def _scale(width: int, columns: int, smallest: int = 1, largest: int = _WIDTH) -> int:
    """The whole factor that fills `_WIDTH`, within tiles of `smallest` to `largest` output pixels; at least 1."""
    wanted = max(smallest, min(largest, _WIDTH // columns))
    return max(1, wanted // width, -(-smallest // width))


def _enlarge(images: Images, scale: int) -> Images:
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def _enlarged(images: Images, scale: int) -> tuple[int, int, int]:
    return images.shape[1] * scale, images.shape[2] * scale, 3


def _mosaic(tiles: Images) -> Images:
    """Tiles (R, C, H, W, 3) as one image, with white gaps between them."""
    rows, columns, height, width, _ = tiles.shape
    padded = np.full((rows, columns, height + _GAP, width + _GAP, 3), 255, dtype=np.uint8)
    padded[:, :, :height, :width] = tiles
    joined = padded.swapaxes(1, 2).reshape(rows * (height + _GAP), columns * (width + _GAP), 3)
    return joined[:-_GAP, :-_GAP]


def _paint(labels: Labels, colours: Images, ignore_index: int) -> Images:
    """Labels (N, H, W), enlarged already, as colours; ignored pixels striped."""
    ignored = labels == ignore_index
    painted = colours[np.where(ignored, 0, labels)]
    row, column = np.indices(labels.shape[1:])
    stripes = np.array(_IGNORED, dtype=np.uint8)[(row + column) // 4 % 2]
    return np.where(ignored[..., None], stripes, painted)


def _differences(images: Images, truth: Labels, predicted: Labels, ignore_index: int) -> Images:
    wrong = (truth != predicted) & (truth != ignore_index)
    dimmed = (images.mean(-1, keepdims=True) * 0.45).astype(np.uint8).repeat(3, -1)
    return np.where(wrong[..., None], np.array(_WRONG, dtype=np.uint8), dimmed)


def _heat(disagreement: Floats) -> Images:
    """Nats (...) as colours (..., 3)."""
    values = np.ma.masked_invalid(disagreement.astype(np.float64) / _FULL_HEAT).clip(0, 1)
    return np.asarray(_HEAT(values, bytes=True))[..., :3]


def _hex(colour: Sequence[int] | Images) -> str:
    return "#" + bytes(int(value) for value in colour).hex()


def _patch(colour: Sequence[int] | Images, label: str) -> Patch:
    return Patch(facecolor=_hex(colour), edgecolor="#555555", linewidth=0.5, label=label)


def _legend_columns(legend: Sequence[Patch], width: int) -> int:
    """The most columns that fit `width` output pixels; a legend is filled column by column."""
    widths = [7 * len(str(patch.get_label())) + 44 for patch in legend]  # 7 a letter, 44 for the patch and the space
    for columns in range(len(legend), 1, -1):
        if sum(max(column) for column in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def _figure(mosaic: Images, titles: Sequence[str] = (), legend: Sequence[Patch] = ()) -> Figure:
    """A figure that is exactly the mosaic, with a line of column titles above and a legend below where given."""
    height, width = mosaic.shape[:2]
    top = _TITLE if titles else 0
    legend_columns = _legend_columns(legend, width)
    bottom = 20 * -(-len(legend) // legend_columns) + 10 if legend else 0
    total = height + top + bottom
    figure = Figure(figsize=(width / _DPI, total / _DPI), dpi=_DPI, facecolor="white")
    axes = figure.add_axes((0, bottom / total, 1, height / total))
    axes.imshow(mosaic, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for i, title in enumerate(titles):
        column = (i + 0.5) / len(titles)
        figure.text(column, 1 - top / 2 / total, title, ha="center", va="center", fontsize=_FONT)
    if legend:
        figure.legend(
            handles=list(legend), loc="lower center", ncols=legend_columns, fontsize=_FONT, frameon=False,
            borderpad=0.2, handlelength=1.2, handleheight=1.0, columnspacing=1.2, labelspacing=0.4,
        )  # fmt: skip
    return figure
