"""A residual block of your own: ReLU in place of SiLU. The variant `relu` of study.yaml is the U-Net made of it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from trainables.sections import UNet


class ReluBlock(nn.Module):
    """norm, ReLU, 3x3 convolution, twice, and a skip; the timestep is added before the second norm.

    Args:
        in_channels: C of the input, (B, C, H, W).
        out_channels: C of the output, (B, C, H, W).
        emb_channels: E of the timestep's embedding, (B, E).
        unet: the network's settings.
    """

    def __init__(self, in_channels: int, out_channels: int, emb_channels: int, unet: UNet) -> None:
        super().__init__()
        # An up block's input is a concatenation: the usual number of groups need not divide its channels.
        self.norm_1 = nn.GroupNorm(math.gcd(unet.norm_groups, in_channels), in_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.emb = nn.Linear(emb_channels, out_channels)
        self.norm_2 = nn.GroupNorm(unet.norm_groups, out_channels)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """The block's output, (B, out_channels, H, W)."""
        h = self.conv_1(self.norm_1(x).relu())
        h = self.norm_2(h + self.emb(emb)[:, :, None, None]).relu()
        output: Tensor = self.conv_2(h) + self.skip(x)
        return output
