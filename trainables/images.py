"""The two forms of an image: uint8 where it is stored or scored, [-1, 1] where a network sees it."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """Images in [-1, 1], float32 in channels-last order, from uint8, (B, C, H, W)."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_uint8(x: Tensor) -> Tensor:
    """uint8 images from images in [-1, 1], (B, C, H, W): what a PNG file of them would hold."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).contiguous()
