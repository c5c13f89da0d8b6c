"""A network that is shown its own last estimate of the clean images, beside x_t along the channels.

Source: Chen, Zhang & Hinton 2022 (arXiv:2208.04202), self-conditioning. The estimate is clipped to [-1, 1], in training
too: the one that a predicted eps implies would be huge where little signal is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainables.diffusion.process import Process


def beside(x_t: Tensor, x_0: Tensor) -> Tensor:
    """What a self-conditioned network takes, (B, 2C, H, W), from noisy images and an estimate, each (B, C, H, W)."""
    return torch.cat([x_t, x_0], dim=1).contiguous(memory_format=torch.channels_last)


class SelfConditioned(nn.Module):
    """A network whose `estimate` of the clean images is that of its last output, zeros where there is none (None).

    Args:
        network: takes 2C channels, where it is self-conditioned.
        on: whether it is; else it is called as it stands.
    """

    def __init__(self, network: nn.Module, process: Process, on: bool) -> None:
        super().__init__()
        self.network, self.process, self.on = network, process, on
        self.estimate: Tensor | None = None

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's output, (B, C, H, W), or (B, 2C, H, W) with a learned variance."""
        if not self.on:
            return self.network(x_t, t)
        x_0 = torch.zeros_like(x_t) if self.estimate is None else self.estimate
        output = self.network(beside(x_t, x_0), t)
        self.estimate = self.process.predict_x_0(x_t, t, output.float())
        return output

    def features(self, x_t: Tensor, t: Tensor, blocks: Sequence[int | str]) -> dict[int | str, Tensor]:
        """The outputs of the network's `blocks`, each (B, C, h, w), without an estimate."""
        network: Any = self.network
        taken = beside(x_t, torch.zeros_like(x_t)) if self.on else x_t
        found: dict[int | str, Tensor] = network.features(taken, t, blocks)
        return found
