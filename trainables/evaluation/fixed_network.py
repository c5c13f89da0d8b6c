"""The features that a fixed, published network has of images in memory, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BATCH = 32  # images in one forward


@torch.no_grad()
def features_of(images: Tensor, forward: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
    """The features of the images, (N, D) float64.

    They are computed in float32, on a GPU too, where convolutions would by default be in TF32.

    Args:
        images: uint8, (N, 1, H, W) or (N, 3, H, W), on any device.
        forward: takes some of the images to their features, (B, D).

    Raises:
        ValueError: images of another type or shape.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"images must be uint8 (N, 1 or 3, H, W), but got {images.dtype} {tuple(images.shape)}")
    enabled = torch.backends.cudnn.enabled
    with torch.backends.cudnn.flags(enabled=enabled, deterministic=True, allow_tf32=False):
        parts = [forward(batch).double().cpu().numpy() for batch in images.split(BATCH)]
    return np.concatenate(parts)
