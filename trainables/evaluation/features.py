"""Pixel features: what the U-Net's up blocks put out for a noised image, at chosen timesteps.

The maps stay at their own resolution. Bringing them to the image's is left to whoever reads them, because a
bilinear reading of single pixels, or a linear layer before the up-sampling, gives the same for less memory.

N images, C channels of a map, h and w its pixels, D the channels of all maps together.

Source: Baranchuk et al. 2022 (arXiv:2112.03126), section 3.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config import Segmentation
from trainables.diffusion.process import Process
from trainables.images import to_unit
from trainables.progress import Progress
from trainables.randomness import generator
from trainables.unet.unet import UNet

BATCH = 50  # images in one forward


class FeatureMaps:
    """The maps of N images: timestep-major, then block.

    Args:
        maps: each (N, C, h, w), at most as large as the image.
        image_size: pixels of the images' sides.
    """

    def __init__(self, maps: list[Tensor], image_size: int) -> None:
        self.maps = [m.permute(0, 2, 3, 1).contiguous() for m in maps]  # (N, h, w, C): a pixel's channels together
        self.image_size = image_size
        self._taps = [_bilinear_taps(m.shape[1], image_size, m.device) for m in self.maps]

    @property
    def channels(self) -> list[int]:
        """The channels of each map; their sum is D."""
        return [m.shape[-1] for m in self.maps]

    def pixels(self, index: Tensor) -> Tensor:
        """The features of single pixels, (P, D), as bilinear up-sampling of the maps would give them.

        Args:
            index: numbers of pixels, counted over images, then rows, then columns, (P,).
        """
        size = self.image_size
        image, y, x = index // size**2, index // size % size, index % size
        parts = []
        for m, (low, high, weight) in zip(self.maps, self._taps, strict=True):
            wy, wx = weight[y, None], weight[x, None]
            top = m[image, low[y], low[x]] * (1 - wx) + m[image, low[y], high[x]] * wx
            bottom = m[image, high[y], low[x]] * (1 - wx) + m[image, high[y], high[x]] * wx
            parts.append(top * (1 - wy) + bottom * wy)
        return torch.cat(parts, dim=1)

    def project(self, image: int, weight: Tensor) -> Tensor:
        """A linear layer of one image's features, (K, H, W).

        up(W f) = W up(f): the layer goes before the up-sampling where that has fewer channels to up-sample.

        Args:
            weight: (K, D).
        """
        small = [m[image].permute(2, 0, 1) for m in self.maps]  # each (C, h, w)
        if weight.shape[0] >= sum(self.channels):
            return torch.einsum("kd,dhw->khw", weight, torch.cat([self._up(m) for m in small]))
        weights = weight.split(self.channels, dim=1)
        layers = [self._up(torch.einsum("kc,chw->khw", w, m)) for w, m in zip(weights, small, strict=True)]
        return torch.stack(layers).sum(0)

    def _up(self, m: Tensor) -> Tensor:
        size = self.image_size
        return F.interpolate(m[None].contiguous(), size=size, mode="bilinear", align_corners=False)[0]


def pixel_features(images: Tensor) -> FeatureMaps:
    """The images' own values in [-1, 1]: the control that a model's features must beat."""
    return FeatureMaps([to_unit(images)], images.shape[-1])


@torch.no_grad()
def unet_features(
    model: UNet, process: Process, images: Tensor, segmentation: Segmentation, seed: int, parts: int = 1
) -> Generator[Progress, None, FeatureMaps]:
    """Progress, counted in images; returns their feature maps.

    One noise tensor serves all images and timesteps, as in the reference implementation.

    Args:
        images: uint8, (N, C, H, W), on the model's device.
        seed: of the trial, for the noise.
        parts: that a batch is computed in, where memory is short.
    """
    shape = (1, *images.shape[1:])
    eps = torch.randn(shape, generator=generator(seed, "feature noise", device=images.device), device=images.device)
    found: dict[tuple[int, int], list[Tensor]] = {}
    batch = BATCH // parts
    for start in range(0, len(images), batch):
        x_0 = to_unit(images[start : start + batch])
        for t in segmentation.timesteps:
            steps = torch.full((len(x_0),), t, device=x_0.device)
            blocks = model.features(process.q_sample(x_0, steps, eps), steps, segmentation.blocks)
            for block in segmentation.blocks:
                found.setdefault((t, block), []).append(blocks[block].float())
        yield Progress(start + len(x_0), len(images))
    return FeatureMaps([torch.cat(parts) for parts in found.values()], images.shape[-1])


def _bilinear_taps(low: int, high: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two neighbours and the second's weight for each of `high` positions, as align_corners=False has them."""
    at = ((torch.arange(high, device=device) + 0.5) * low / high - 0.5).clamp(min=0)
    first = at.floor().long().clamp(max=low - 1)
    return first, (first + 1).clamp(max=low - 1), (at - first).float()
