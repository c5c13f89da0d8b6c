"""Images that are arrays already: brought to one size, as splits without masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.data import Arrays
from trainables.data.image_file import squashed


def squashed_all(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The images as `image_file` squashes one, (N, C, S, S).

    Args:
        images: (N, H, W, C) of 1 or 3 channels.
    """
    channels = images.shape[-1]
    made = np.empty((len(images), channels, size, size), np.uint8)
    for i, image in enumerate(images):
        made[i] = squashed(Image.fromarray(image[..., 0] if channels == 1 else image), channels, size)
    return made


def without_masks(train: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> Arrays:
    """The splits of a dataset that has no masks.

    Args:
        train: (N, C, S, S), as `held_out`.
    """
    masks = np.empty((0, *train.shape[2:]), np.uint8)
    return Arrays(train, train[:0], masks, held_out, masks)
