"""What a U-Net costs, counted from its settings alone: no torch, so that a dry run can afford it.

The counts mirror `blocks.py` and `unet.py`; a test holds them equal to torch's own for every variant.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.config import UNet


@dataclass(frozen=True)
class Cost:
    """Parameters, and the multiply-accumulates of one forward of one image. Norms and activations count no macs."""

    parameters: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.macs + other.macs)


def unet_cost(unet: UNet, image_channels: int, image_size: int) -> Cost:
    """The cost of the whole network for one image of (image_channels, image_size, image_size)."""
    widths = unet.level_channels
    inputs = [unet.base_channels, *widths[:-1]]
    sizes = [image_size // 2**level for level in range(unet.levels)]
    emb = 4 * unet.base_channels
    total = (
        _linear(unet.base_channels, emb) + _linear(emb, emb) + _conv(image_channels, unet.base_channels, 3, image_size)
    )
    for i, w, size in zip(inputs, widths, sizes, strict=True):
        total += _level(unet, i, w, 0, size) + _level(unet, w, w, w, size)
        total += _conv(w, i, 3, size if size == image_size else 2 * size)
    for w, size in zip(widths[:-1], sizes[1:], strict=True):
        total += _conv(w, w, 3, size)
    total += _level(unet, widths[-1], widths[-1], 0, sizes[-1])
    return total + _norm(unet.base_channels) + _conv(unet.base_channels, image_channels, 3, image_size)


def _level(unet: UNet, in_channels: int, out_channels: int, extra: int, size: int) -> Cost:
    total = Cost()
    for c in [in_channels, *[out_channels] * (unet.blocks_per_level - 1)]:
        total += _block(unet, c + extra, out_channels, size)
    if size in unet.attention_resolutions:
        total += _norm(out_channels) + _conv(out_channels, 3 * out_channels, 1, size)
        total += _conv(out_channels, out_channels, 1, size) + Cost(0, 2 * size**4 * out_channels)
    return total


def _block(unet: UNet, i: int, o: int, size: int) -> Cost:
    skip = Cost() if i == o else _conv(i, o, 1, size)
    if unet.block == "resnet":
        timed_norm = _norm(o) + _linear(4 * unet.base_channels, o * (2 if unet.norm == "adagn" else 1))
        return _norm(i) + _conv(i, o, 3, size) + timed_norm + _conv(o, o, 3, size) + skip
    hidden = unet.convnext_expansion * o
    timed_norm = _norm(i) + _linear(4 * unet.base_channels, i * (2 if unet.norm == "adagn" else 1))
    depthwise = Cost(i * 49 + i, i * 49 * size**2)
    return depthwise + timed_norm + _conv(i, hidden, 1, size) + _conv(hidden, o, 1, size) + skip


def _conv(i: int, o: int, kernel: int, out_size: int) -> Cost:
    return Cost(i * o * kernel**2 + o, i * o * kernel**2 * out_size**2)


def _linear(i: int, o: int) -> Cost:
    return Cost(i * o + o, i * o)


def _norm(channels: int) -> Cost:
    return Cost(2 * channels)
