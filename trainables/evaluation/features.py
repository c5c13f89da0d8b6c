"""Pixel features: what the U-Net's up blocks put out for a noised image, at chosen timesteps.

The maps stay at their own resolution. Bringing them to the image's is left to whoever reads them, because a
bilinear reading of single pixels, or a linear layer before the up-sampling, gives the same for less memory.

N images, C channels of a map, h and w its pixels, D the channels of all maps together.

Source: Baranchuk et al. 2022 (arXiv:2112.03126), section 3.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.diffusion.process import Process
from trainables.finite import check_finite
from trainables.images import to_unit
from trainables.randomness import generator

BATCH_PIXELS = 2**16  # in one forward


class Network(Protocol):
    """A network that can be asked for the outputs of its blocks, by number or by name."""

    def features(self, x_t: Tensor, t: Tensor, blocks: Sequence[int | str]) -> dict[int | str, Tensor]:
        """The outputs of `blocks`, each (B, C, h, w), in their order."""


class FeatureMaps:
    """The maps of N images: timestep-major, then block.

    Args:
        maps: each (N, h, w, C), at most as large as the image: a pixel's channels lie together.
        image_size: pixels of the images' sides.
    """

    def __init__(self, maps: Sequence[Tensor], image_size: int) -> None:
        self.maps, self.image_size = maps, image_size
        self._taps = [_bilinear_taps(m.shape[1], image_size, m.device) for m in maps]

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

        up(W f) = W up(f): the layer goes before the up-sampling where that leaves fewer channels to up-sample, and
        maps of one resolution are added up before it.

        Args:
            weight: (K, D).
        """
        small = [m[image].permute(2, 0, 1) for m in self.maps]  # each (C, h, w)
        resolutions = {m.shape[1] for m in small}
        if weight.shape[0] * len(resolutions) >= sum(self.channels):
            features = torch.cat([self._up(m) for m in small])
            return (weight @ features.flatten(1)).reshape(-1, self.image_size, self.image_size)
        sums: dict[int, Tensor] = {}
        for w, m in zip(weight.split(self.channels, dim=1), small, strict=True):
            product = (w @ m.flatten(1)).reshape(-1, *m.shape[1:])
            sums[m.shape[1]] = sums[m.shape[1]].add_(product) if m.shape[1] in sums else product
        first, *rest = (self._up(product) for product in sums.values())
        return sum(rest, first)

    def _up(self, m: Tensor) -> Tensor:
        if m.shape[-1] == self.image_size:
            return m
        return F.interpolate(m[None].contiguous(), size=self.image_size, mode="bilinear", align_corners=False)[0]


class PixelValues:
    """The images' own values in [-1, 1] as features: the control that a model's must beat."""

    def batches(self, images: Tensor) -> Iterator[FeatureMaps]:
        """The feature maps of uint8 images (N, C, H, W), some images at a time."""
        for batch in images.split(_batch(images)):
            yield FeatureMaps([to_unit(batch).permute(0, 2, 3, 1).contiguous()], images.shape[-1])


class DecoderOutputs:
    """What the network's blocks put out for noised images.

    One noise tensor serves all images and timesteps, as in the reference implementation; of several draws each does,
    and the features are their mean.

    Args:
        network: in eval mode, on the images' device.
        timesteps: of the noise that is added.
        blocks: the decoder's by number, or modules by name.
        seed: of the trial, for the noise.
        parts: that a batch is computed in, where memory is short.
        draws: of the noise; 0: none is added.
    """

    def __init__(
        self,
        network: Network,
        process: Process,
        timesteps: Sequence[int],
        blocks: Sequence[int | str],
        seed: int,
        parts: int,
        draws: int = 1,
    ) -> None:
        self.network, self.process, self.timesteps, self.blocks = network, process, timesteps, blocks
        self.seed, self.parts, self.draws = seed, parts, draws

    @torch.no_grad()
    def batches(self, images: Tensor) -> Iterator[FeatureMaps]:
        """The feature maps of uint8 images (N, C, H, W), some images at a time.

        Raises:
            Diverged: the network's outputs are not finite.
        """
        noises = self._noises(images)
        for batch in images.split(max(1, _batch(images) // self.parts)):
            x_0, maps = to_unit(batch), list[Tensor]()
            for t in self.timesteps:
                maps += self._outputs(x_0, torch.full((len(x_0),), t, device=x_0.device), noises)
            check_finite(maps, "the network's features are")
            yield FeatureMaps([m.permute(0, 2, 3, 1).contiguous() for m in maps], images.shape[-1])

    def _noises(self, images: Tensor) -> list[Tensor]:
        shape = (1, *images.shape[1:])
        if not self.draws:
            return [torch.zeros(shape, device=images.device)]
        purposes: list[list[str | int]] = [["feature noise", *([k] if k else [])] for k in range(self.draws)]
        generators = [generator(self.seed, *purpose, device=images.device) for purpose in purposes]
        return [torch.randn(shape, generator=g, device=images.device) for g in generators]

    def _outputs(self, x_0: Tensor, t: Tensor, noises: Sequence[Tensor]) -> list[Tensor]:
        """The maps of one timestep, each (B, C, h, w), mean over the noises."""
        first, *rest = (self.network.features(self.process.q_sample(x_0, t, eps), t, self.blocks) for eps in noises)
        maps = [output.float() for output in first.values()]
        for outputs in rest:
            maps = [m + output.float() for m, output in zip(maps, outputs.values(), strict=True)]
        return [m / len(noises) for m in maps] if rest else maps


class InColour:
    """What a network of several channels puts out for images of one too: the one is repeated, as grey in RGB is.

    Args:
        features: of the network.
        channels: that it takes.
    """

    def __init__(self, features: DecoderOutputs, channels: int) -> None:
        self.features, self.channels = features, channels

    def batches(self, images: Tensor) -> Iterator[FeatureMaps]:
        """The feature maps of uint8 images (N, C, H, W), C 1 or the network's, some images at a time."""
        yield from self.features.batches(images.expand(-1, self.channels, -1, -1))


Features = PixelValues | DecoderOutputs | InColour


def joined(batches: Iterable[FeatureMaps], images: int) -> Generator[int, None, FeatureMaps]:
    """How many images are done; returns the maps of all `images` as one, filled batch by batch: never held twice."""
    maps: list[Tensor] = []
    size = done = 0
    for batch in batches:
        maps = maps or [m.new_empty((images, *m.shape[1:])) for m in batch.maps]
        for m, part in zip(maps, batch.maps, strict=True):
            m[done : done + len(part)] = part
        size, done = batch.image_size, done + len(batch.maps[0])
        yield done
    return FeatureMaps(maps, size)


def _batch(images: Tensor) -> int:
    return max(1, BATCH_PIXELS // images.shape[-1] ** 2)


def _bilinear_taps(low: int, high: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two neighbours and the second's weight for each of `high` positions, as align_corners=False has them."""
    at = ((torch.arange(high, device=device) + 0.5) * low / high - 0.5).clamp(min=0)
    first = at.floor().long().clamp(max=low - 1)
    return first, (first + 1).clamp(max=low - 1), (at - first).float()
