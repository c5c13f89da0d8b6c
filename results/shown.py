"""What a study's page shows of one trial: some of its images and its losses, in small, in one file."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Images = NDArray[np.uint8]
Array = NDArray[np.generic]

FILE = "page.npz"  # beside the trial's pictures
SAMPLES = 12
MASKS = 8
FRAMES = 12  # of the way from noise to image
SIDE = 96  # pixels: larger images are made smaller
POINTS = 120  # of a curve


@dataclass(frozen=True)
class Shown:
    """What a page shows of a trial; None is what the trial has not.

    Args:
        samples: (N, H, W, C) uint8, the first of the samples.
        way: (S, H, W, C) uint8, one image from noise to the end.
        timesteps: (S,) what each frame of the way is; -1 is the clean image.
        copies: (K, H, W, C) uint8, the samples most like a copy of a training image, where that was looked for.
        nearest: (K, H, W, C) uint8, the training image nearest to each.
        ratio: (K,) the distance to it over that to the second nearest; 0 is a copy.
        images: (M, H, W, C) uint8, the first of the scored images.
        truth: (M, H, W) class indices, or `ignore_index`.
        predicted: (M, H, W) class indices.
        disagreement: (M, H, W) of the ensemble's members, in nats.
        class_names: (K,) texts.
        ignore_index: () the label of pixels without truth.
        loss: (2, P) training steps and the mean loss around each.
        classifier: (3, P) steps of the pixel classifier, its training loss, its validation loss (NaN: not measured).
    """

    samples: Array | None = None
    way: Array | None = None
    timesteps: Array | None = None
    copies: Array | None = None
    nearest: Array | None = None
    ratio: Array | None = None
    images: Array | None = None
    truth: Array | None = None
    predicted: Array | None = None
    disagreement: Array | None = None
    class_names: Array | None = None
    ignore_index: Array | None = None
    loss: Array | None = None
    classifier: Array | None = None

    def save(self, path: Path) -> None:
        """Writes what there is into one file."""
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})

    @classmethod
    def load(cls, path: Path) -> Shown | None:
        """What the file holds; None where it is not there or cannot be read."""
        names = {field.name for field in dataclasses.fields(cls)}
        try:
            with np.load(path) as arrays:
                return cls(**{name: arrays[name] for name in arrays.files if name in names})
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None


def small(images: Array) -> Images:
    """The images with sides of at most `SIDE` pixels.

    Args:
        images: (N, H, W, C) uint8.
    """
    return np.stack([_resized(image) for image in np.asarray(images, dtype=np.uint8)])


def small_labels(labels: Array) -> NDArray[np.int32]:
    """The labels (N, H, W) with sides of at most `SIDE` pixels, each that of the nearest pixel."""
    return np.stack([_nearest(label.astype(np.int32)) for label in labels]).astype(np.int32)


def small_values(values: Array) -> NDArray[np.float16]:
    """Values (N, H, W) with sides of at most `SIDE` pixels, each that of the nearest pixel."""
    return np.stack([_nearest(value.astype(np.float32)) for value in values]).astype(np.float16)


def thinned(steps: ArrayLike, *curves: ArrayLike) -> NDArray[np.float64]:
    """The steps and the curves, (1 + curves, P), as means of at most `POINTS` equal parts of the record.

    Values that are not finite are left out of the means.
    """
    record = np.vstack([np.asarray(row, dtype=np.float64) for row in (steps, *curves)])
    parts = np.array_split(record, min(POINTS, record.shape[1]), axis=1)
    return np.array([[_mean(row) for row in part] for part in parts]).T


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _resized(image: Images) -> Images:
    grey = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    made = np.asarray(picture.resize(_size(image), Image.Resampling.LANCZOS), dtype=np.uint8)
    return made[..., None] if grey else made


def _nearest(values: Array) -> Array:
    return np.asarray(Image.fromarray(values).resize(_size(values), Image.Resampling.NEAREST))


def _size(image: Array) -> tuple[int, int]:
    """(width, height)."""
    height, width = image.shape[:2]
    by = min(1.0, SIDE / max(height, width))
    return max(1, round(width * by)), max(1, round(height * by))


def shown_frames(frames: int) -> Sequence[int]:
    """The numbers of at most `FRAMES` frames, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, frames - 1, min(FRAMES, frames))})
