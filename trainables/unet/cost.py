"""What a U-Net costs, counted from its settings alone: no torch, so that a dry run can afford it.

The counts mirror `blocks.py`, `unet.py` and `guided_diffusion.py`; a test holds them equal to torch's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.config import Pretrained, UNet


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
        total += _attention(out_channels, size)
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


def guided_cost(settings: Pretrained, image_channels: int, image_size: int, last_block: int | None = None) -> Cost:
    """The cost of guided-diffusion's U-Net: all of its parameters, and the macs of a forward.

    Args:
        last_block: the output block after which the forward stops; None for a whole forward.
    """
    widths, sizes = [settings.num_channels * m for m in settings.channel_mult], _halved(settings, image_size)
    emb = 4 * settings.num_channels
    down = _linear(settings.num_channels, emb) + _linear(emb, emb) + _conv(image_channels, widths[0], 3, image_size)
    skips, c = [widths[0]], widths[0]
    for level, (width, size) in enumerate(zip(widths, sizes, strict=True)):
        for _ in range(settings.num_res_blocks):
            down += _guided_res(settings, c, width, size) + _guided_attention(settings, width, size)
            skips, c = [*skips, width], width
        if level < len(widths) - 1:
            res = settings.resblock_updown
            down += _guided_res(settings, c, c, size // 2) if res else _conv(c, c, 3, size // 2)
            skips.append(c)
    middle = _guided_res(settings, c, c, sizes[-1])
    down += middle + middle + _attention(c, sizes[-1])
    up = list(_guided_up(settings, skips, widths, sizes))
    outputs = image_channels * (2 if settings.learn_sigma else 1)
    whole = sum([*up, _norm(skips[0]), _conv(skips[0], outputs, 3, image_size)], down)
    return whole if last_block is None else Cost(whole.parameters, sum(up[: last_block + 1], down).macs)


def _guided_up(settings: Pretrained, skips: list[int], widths: list[int], sizes: list[int]) -> Iterator[Cost]:
    remaining, c = list(skips), widths[-1]
    for level, (width, size) in reversed(list(enumerate(zip(widths, sizes, strict=True)))):
        for i in range(settings.num_res_blocks + 1):
            block = _guided_res(settings, c + remaining.pop(), width, size) + _guided_attention(settings, width, size)
            if level and i == settings.num_res_blocks:
                res = settings.resblock_updown
                block += _guided_res(settings, width, width, 2 * size) if res else _conv(width, width, 3, 2 * size)
            yield block
            c = width


def _guided_res(settings: Pretrained, i: int, o: int, size: int) -> Cost:
    timed = _linear(4 * settings.num_channels, o * (2 if settings.use_scale_shift_norm else 1))
    skip = Cost() if i == o else _conv(i, o, 1, size)
    return _norm(i) + _conv(i, o, 3, size) + timed + _norm(o) + _conv(o, o, 3, size) + skip


def _guided_attention(settings: Pretrained, channels: int, size: int) -> Cost:
    return _attention(channels, size) if size in settings.attention_resolutions else Cost()


def _halved(settings: Pretrained, image_size: int) -> list[int]:
    return [image_size // 2**level for level in range(len(settings.channel_mult))]


def _attention(channels: int, size: int) -> Cost:
    matrices = _conv(channels, 3 * channels, 1, size) + _conv(channels, channels, 1, size)
    return _norm(channels) + matrices + Cost(0, 2 * size**4 * channels)
