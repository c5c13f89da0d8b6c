"""The U-Net's parts. A block is a class with `(in_channels, out_channels, emb_channels, unet)`, here or a person's own.

B batch, C channels, H and W pixels, E the channels of the timestep's embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.own_parts import PartError, chosen, is_reference
from trainables.sections import UNet


def timestep_embedding(t: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoids of the timesteps, (B, channels): the sines, then the cosines.

    Args:
        t: timesteps, (B,).
        channels: an even number.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.
    """
    half = channels // 2
    frequencies = torch.exp(-math.log(max_period) / half * torch.arange(half, device=t.device))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class GroupNorm(nn.Module):
    """GroupNorm of (B, C, H, W); the timestep enters by addition before it."""

    def __init__(self, groups: int, channels: int, emb_channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.emb = nn.Linear(emb_channels, channels)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.norm(h + self.emb(emb)[:, :, None, None])


class AdaGN(nn.Module):
    """GroupNorm of (B, C, H, W) that is scaled and shifted from the timestep's embedding.

    Source: Dhariwal & Nichol 2021 (arXiv:2105.05233), section 3, AdaGN(h, y) = y_s GroupNorm(h) + y_b.
    """

    def __init__(self, groups: int, channels: int, emb_channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.emb = nn.Linear(emb_channels, 2 * channels)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, dim=1)
        return self.norm(h) * (1 + scale) + shift


NORMS: dict[str, Callable[..., nn.Module]] = {"group": GroupNorm, "adagn": AdaGN}


def norm(unet: UNet, groups: int, channels: int, emb_channels: int) -> nn.Module:
    """The norm that the settings name, over (B, C, H, W): it takes (h, emb).

    Args:
        groups: that divide `channels`.
    """
    made = chosen(NORMS, unet.norm)(groups, channels, emb_channels, **unet.norm_args)
    return _checked(made, unet.norm, channels) if is_reference(unet.norm) else made


class ResNetBlock(nn.Module):
    """norm, SiLU, 3x3 convolution, twice, and a skip; the timestep enters at the second norm.

    Source: Ho et al. 2020, appendix B.
    """

    def __init__(self, in_channels: int, out_channels: int, emb_channels: int, unet: UNet) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(_groups(unet.norm_groups, in_channels), in_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm_2 = norm(unet, unet.norm_groups, out_channels, emb_channels)
        self.dropout = nn.Dropout(unet.dropout)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = _skip(in_channels, out_channels)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv_1(F.silu(self.norm_1(x)))
        h = self.conv_2(self.dropout(F.silu(self.norm_2(h, emb))))
        return h + self.skip(x)


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise convolution, one norm, 1x1 expansion, one GELU, 1x1 projection, and a skip.

    Source: Liu et al. 2022 (arXiv:2201.03545), figure 4; the expansion is 2 where theirs is 4, as in the study.
    The layer norm is over channels and pixels (GroupNorm of one group), the usual form in diffusion U-Nets.
    """

    def __init__(self, in_channels: int, out_channels: int, emb_channels: int, unet: UNet) -> None:
        super().__init__()
        hidden = unet.convnext_expansion * out_channels
        self.depthwise = nn.Conv2d(in_channels, in_channels, 7, padding=3, groups=in_channels)
        self.norm = norm(unet, 1, in_channels, emb_channels)
        self.expand = nn.Conv2d(in_channels, hidden, 1)
        self.dropout = nn.Dropout(unet.dropout)
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.skip = _skip(in_channels, out_channels)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x), emb)
        h = self.project(self.dropout(F.gelu(self.expand(h))))
        return h + self.skip(x)


BLOCKS: dict[str, Callable[..., nn.Module]] = {"resnet": ResNetBlock, "convnext": ConvNeXtBlock}


def block(unet: UNet, in_channels: int, out_channels: int, emb_channels: int) -> nn.Module:
    """The block that the settings name: it takes (x, emb), (B, in_channels, H, W) and (B, emb_channels)."""
    made = chosen(BLOCKS, unet.block)(in_channels, out_channels, emb_channels, unet, **unet.block_args)
    return _checked(made, unet.block, out_channels) if is_reference(unet.block) else made


def _checked(part: nn.Module, reference: str, channels: int) -> nn.Module:
    """A part of the person's own that says itself when it puts out another shape than it must."""
    if not isinstance(part, nn.Module):
        raise PartError(f"{reference}: must make a torch.nn.Module, but makes {type(part).__name__}")

    def check(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        b, _, height, width = inputs[0].shape
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if got != (b, channels, height, width):
            raise PartError(f"{reference}: must put out {(b, channels, height, width)}, not {got}")

    part.register_forward_hook(check)
    return part


class Attention(nn.Module):
    """Multi-head self-attention over the pixels of (B, C, H, W), with a norm before it and a skip.

    With `qk_norm` queries and keys go through a layer norm over each head's channels, with a learned scale and no bias.

    Source: Vaswani et al. 2017, equation 1; Dehghani et al. 2023 (arXiv:2302.05442), section 2, for `qk_norm`.
    """

    def __init__(self, channels: int, unet: UNet) -> None:
        super().__init__()
        self.heads = unet.attention_heads
        self.norm = nn.GroupNorm(unet.norm_groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        width = channels // unet.attention_heads
        self.norm_q, self.norm_k = (
            nn.LayerNorm(width, bias=False) if unet.qk_norm else nn.Identity() for _ in ("query", "key")
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        qkv = self.qkv(self.norm(x)).flatten(2).reshape(b, 3, self.heads, c // self.heads, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(1)  # each (B, heads, HW, C / heads)
        h = F.scaled_dot_product_attention(self.norm_q(q), self.norm_k(k), v)
        return x + self.project(h.transpose(2, 3).reshape(b, c, height, width))


def _groups(groups: int, channels: int) -> int:
    """`groups`, or the most that divide a concatenation's `channels`."""
    return math.gcd(groups, channels)


def _skip(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
