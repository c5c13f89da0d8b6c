"""The vision transformer of DINOv2, with the names of its published weights.

B images, N tokens, the class's first, of C channels.

Source: Dosovitskiy et al. 2021 (arXiv:2010.11929); Oquab et al. 2023 (arXiv:2304.07193), with the layer scale of
Touvron et al. 2021 (arXiv:2103.17239).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OFFSET = 0.1  # added to the patches a side before their positions are scaled, as by the published code
EPS = 1e-6


class Attention(nn.Module):
    """Attention among the tokens, (B, N, C) to (B, N, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The mixed tokens."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, C / heads)
        mixed = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(mixed.transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """A learned factor of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled tokens."""
        return x * self.gamma


class MLP(nn.Module):
    """Two layers with a GELU, four times as wide in between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens, each for itself."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each normed before, scaled after, and added."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(channels, EPS), Attention(channels, heads), LayerScale(channels)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(channels, EPS), MLP(channels), LayerScale(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens, (B, N, C)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """Images to the class token's features.

    Args:
        channels: C.
        depth: blocks.
        heads: of each attention.
        patch: pixels of a side of a patch.
        positions: patches a side that there are positions for; for others they are scaled.
    """

    def __init__(self, channels: int, depth: int, heads: int, patch: int, positions: int) -> None:
        super().__init__()
        self.positions = positions
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, channels, patch, stride=patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + positions**2, channels))
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(channels, EPS)

    def forward(self, images: Tensor) -> Tensor:
        """The normed class token, (B, C), of images (B, 3, H, H), H a multiple of the patch."""
        patches = self.patch_embed["proj"](images)  # (B, C, H / patch, H / patch)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        x = tokens + self._positions(patches.shape[-1])
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])

    def _positions(self, side: int) -> Tensor:
        """The positions of `side` x `side` patches after the class's, (1, 1 + side^2, C)."""
        if side == self.positions:
            return self.pos_embed
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = of_patches.transpose(1, 2).unflatten(2, (self.positions, self.positions))
        scale = (side + OFFSET) / self.positions
        scaled = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([of_class, scaled.flatten(2).transpose(1, 2)], 1)
