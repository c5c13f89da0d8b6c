"""Pictures of a trial that are grids of its images: its samples, their way from noise to image, their masks.

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
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

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


def copies(samples: Images, nearest: Images, ratios: Sequence[float]) -> Figure:
    """Each sample above the training image that is nearest to it, with the ratio of that distance to the second.

    Args:
        samples: (N, H, W, C) uint8.
        nearest: (N, H, W, C) uint8.
        ratios: (N,) the distance of the two, divided by that of the sample to its second nearest; 0 is a copy.

    Raises:
        ValueError: images of another shape or type, or not as many of each.
    """
    if samples.shape != nearest.shape or len(samples) != len(ratios):
        raise ValueError(f"samples, nearest and ratios: {samples.shape}, {nearest.shape} and {len(ratios)} differ")
    rows = [_rgb(images, name) for images, name in ((samples, "samples"), (nearest, "nearest"))]
    scale = _scale(samples.shape[2], len(samples), smallest=56, largest=96)
    mosaic = _mosaic(np.stack([_enlarge(row, scale) for row in rows]))
    below = "above samples, below the nearest training image of each; numbers: distance to it / to the second nearest"
    return _figure(mosaic, [f"{ratio:.2f}" for ratio in ratios], caption=below)


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
        differences(image, truth, predicted, ignore_index),
    ]
    shown = np.union1d(truth, predicted)
    legend = [_patch(colours[i], class_names[i]) for i in shown if i != ignore_index]
    if ignore_index in shown:
        legend.append(Patch(facecolor=_hex(_IGNORED[0]), edgecolor=_hex(_IGNORED[1]), hatch="////", label="ignored"))
    legend.append(_patch(_WRONG, "differs"))
    if disagreement is not None:
        titles.append("disagreement")
        panels.append(_enlarge(heat(disagreement[:MAX_MASKS]), scale))
        ends = {"disagreement 0": 0, "disagreement ln 2": _FULL_HEAT}
        legend += [_patch(heat(np.array(nats)), text) for text, nats in ends.items()]
    return _figure(_mosaic(np.stack(panels, 1)), titles, legend)


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


def differences(images: Images, truth: Labels, predicted: Labels, ignore_index: int) -> Images:
    """The images (N, H, W, 3), dark, with each pixel red whose prediction is not its truth."""
    wrong = (truth != predicted) & (truth != ignore_index)
    dimmed = (images.mean(-1, keepdims=True) * 0.45).astype(np.uint8).repeat(3, -1)
    return np.where(wrong[..., None], np.array(_WRONG, dtype=np.uint8), dimmed)


def heat(disagreement: Floats) -> Images:
    """Nats (...) as colours (..., 3): black at 0, white from ln 2 on, grey where they are no number."""
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


def _figure(mosaic: Images, titles: Sequence[str] = (), legend: Sequence[Patch] = (), caption: str = "") -> Figure:
    """A figure that is exactly the mosaic, with a line of column titles above, a legend or a caption below if given."""
    height, width = mosaic.shape[:2]
    top = _TITLE if titles else 0
    legend_columns = _legend_columns(legend, width)
    bottom = 20 * -(-len(legend) // legend_columns) + 10 if legend else _TITLE * bool(caption)
    total = height + top + bottom
    figure = Figure(figsize=(width / _DPI, total / _DPI), dpi=_DPI, facecolor="white")
    axes = figure.add_axes((0, bottom / total, 1, height / total))
    axes.imshow(mosaic, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for i, title in enumerate(titles):
        column = (i + 0.5) / len(titles)
        figure.text(column, 1 - top / 2 / total, title, ha="center", va="center", fontsize=_FONT)
    if caption:
        figure.text(0.5, bottom / 2 / total, caption, ha="center", va="center", fontsize=_FONT)
    if legend:
        drawn = figure.legend(
            handles=list(legend), loc="lower center", ncols=legend_columns, fontsize=_FONT, frameon=False,
            borderpad=0.2, handlelength=1.2, handleheight=1.0, columnspacing=1.2, labelspacing=0.4,
        )  # fmt: skip
        for text in drawn.get_texts():
            text.set_parse_math(False)  # a class may have dollars in its name
    return figure
