"""The U-Net: L down blocks, a middle block and L up blocks, numbered 1..L, L+1, L+2..2L+1 as in the paper.

With base_channels 64 and channel_mults (1, 2, 4, 8) the up blocks 6, 7, 8, 9 put out 256, 128, 64 and 64 channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.sections import UNet as UNetConfig
from trainables.unet.blocks import Attention, block, timestep_embedding
from trainables.unet.module_outputs import module_outputs


class Level(nn.Module):
    """The blocks and the attention of one resolution. `extra` channels of skips come in before each block."""

    def __init__(self, in_channels: int, out_channels: int, extra: int, attend: bool, unet: UNetConfig) -> None:
        super().__init__()
        inputs = [in_channels, *[out_channels] * (unet.blocks_per_level - 1)]
        self.blocks = nn.ModuleList(block(unet, c + extra, out_channels, 4 * unet.base_channels) for c in inputs)
        self.attention = Attention(out_channels, unet) if attend else nn.Identity()
        self.skip_scaling = unet.skip_scaling

    def down(self, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The level's output and the skips that its mirror image takes, one a block."""
        skips = []
        for residual in self.blocks:
            x = residual(x, emb)
            skips.append(x)
        skips[-1] = x = self.attention(x)
        return x, skips

    def up(self, x: Tensor, emb: Tensor, skips: list[Tensor]) -> Tensor:
        """The level's output, with the last of `skips` used first.

        Source: Saharia et al. 2022 (arXiv:2205.11487) scale the skips by 1 / sqrt(2), in their efficient U-Net.
        """
        for residual in self.blocks:
            skip = skips.pop() if self.skip_scaling == 1 else self.skip_scaling * skips.pop()
            x = residual(torch.cat([x, skip], dim=1), emb)
        return self.attention(x)


class Upsample(nn.Module):
    """Nearest neighbours at twice the size and a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """Predicts from (x_t, t) what the config says.

    Args:
        image_channels: 1 or 3.
        image_size: pixels of a side; it decides where the attention is.
        input_images: that it takes, along the channels.
        output_images: that it puts out.
    """

    def __init__(
        self, unet: UNetConfig, image_channels: int, image_size: int, input_images: int = 1, output_images: int = 1
    ) -> None:
        super().__init__()
        self.base_channels, emb_channels = unet.base_channels, 4 * unet.base_channels
        widths, last = unet.level_channels, unet.levels - 1
        inputs = [unet.base_channels, *widths[:-1]]  # a level's input going down, and its output going up
        attend = [image_size // 2**level in unet.attention_resolutions for level in range(unet.levels)]
        self.embed = nn.Sequential(
            nn.Linear(unet.base_channels, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels), nn.SiLU()
        )
        self.stem = nn.Conv2d(input_images * image_channels, unet.base_channels, 3, padding=1)
        self.down = nn.ModuleList(
            Level(i, w, extra=0, attend=a, unet=unet) for i, w, a in zip(inputs, widths, attend, strict=True)
        )
        self.downsample = nn.ModuleList(nn.Conv2d(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.middle = Level(widths[last], widths[last], extra=0, attend=attend[last], unet=unet)
        self.up = nn.ModuleList(Level(w, w, extra=w, attend=a, unet=unet) for w, a in _coarsest_first(widths, attend))
        self.upsample = nn.ModuleList(
            Upsample(w, i) if level else nn.Conv2d(w, i, 3, padding=1)
            for level, (w, i) in reversed(list(enumerate(zip(widths, inputs, strict=True))))
        )
        self.norm = nn.GroupNorm(unet.norm_groups, unet.base_channels)
        self.head = nn.Conv2d(unet.base_channels, output_images * image_channels, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # the first loss is that of predicting no noise, not of a random guess
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The prediction, (B, C', H, W).

        Args:
            x_t: noisy images, (B, C, H, W).
            t: timesteps, (B,).
        """
        [(_, h)] = deque(self._up_blocks(x_t, t), maxlen=1)
        return self.head(F.silu(self.norm(h)))

    def features(self, x_t: Tensor, t: Tensor, blocks: Sequence[int | str]) -> dict[int | str, Tensor]:
        """The outputs of up blocks by number, or modules by name, each (B, C, h, w); stops after the last.

        They are at their own resolutions, and in the order of `blocks`.

        Raises:
            PartError: a name that is none of a module, or of one that puts out no maps.
        """
        if any(isinstance(block, str) for block in blocks):
            first = len(self.down) + 2
            patterns = [block if isinstance(block, str) else f"upsample.{block - first}" for block in blocks]
            return module_outputs(self, patterns, x_t, t)
        wanted, found = set(blocks), dict[int | str, Tensor]()
        for number, h in self._up_blocks(x_t, t):
            if number in wanted:
                found[number] = h
            if len(found) == len(wanted):
                break
        return {block: found[block] for block in blocks}

    def _up_blocks(self, x_t: Tensor, t: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each up block's number and output, computed as they are asked for."""
        emb = self.embed(timestep_embedding(t, self.base_channels))
        h = self.stem(x_t)
        skips: list[Tensor] = []
        for level, downsample in zip(self.down, [*self.downsample, nn.Identity()], strict=True):
            h, level_skips = _level(level).down(h, emb)
            skips.extend(level_skips)
            h = downsample(h)
        h, _ = self.middle.down(h, emb)
        for i, (level, upsample) in enumerate(zip(self.up, self.upsample, strict=True)):
            h = upsample(_level(level).up(h, emb, skips))
            yield len(self.down) + 2 + i, h


def _level(module: nn.Module) -> Level:
    """`module` as what it is: a ModuleList does not know the type of its members."""
    assert isinstance(module, Level)
    return module


def _coarsest_first(widths: tuple[int, ...], attend: list[bool]) -> list[tuple[int, bool]]:
    return list(reversed(list(zip(widths, attend, strict=True))))
