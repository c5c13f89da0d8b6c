"""The forward process, and what a network's output says of the clean images.

Symbols: x_0 clean images in [-1, 1], x_t noisy images, eps the noise, t timesteps 0..T-1,
alphas_cumprod[t] the part of the signal's variance that is left at t.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.diffusion.predictions import PREDICTIONS
from trainables.diffusion.schedules import betas
from trainables.sections import Diffusion


class Process(nn.Module):
    """The fixed noising process of one schedule: buffers only, nothing to train."""

    betas: Tensor
    alphas_cumprod: Tensor
    signal: Tensor
    noise: Tensor

    def __init__(self, diffusion: Diffusion) -> None:
        super().__init__()
        self.prediction, self.learned_variance = PREDICTIONS[diffusion.prediction], diffusion.learned_variance
        variances = torch.from_numpy(betas(diffusion))
        alphas_cumprod = torch.cumprod(1 - variances, 0)
        self.register_buffer("betas", variances)
        self.register_buffer("alphas_cumprod", alphas_cumprod)
        self.register_buffer("signal", alphas_cumprod.sqrt().float())
        self.register_buffer("noise", (1 - alphas_cumprod).sqrt().float())

    @property
    def timesteps(self) -> int:
        """T, the number of steps."""
        return len(self.betas)

    @property
    def snr(self) -> Tensor:
        """The signal-to-noise ratio at each t, (T,) float64."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Noisy images x_t, (B, C, H, W): a draw of q(x_t | x_0).

        Args:
            x_0: clean images in [-1, 1], (B, C, H, W).
            t: timesteps in 0..T-1, (B,).
            eps: standard normal noise, (B, C, H, W).

        Source: Ho et al. 2020, equation 4.
        """
        return _at(self.signal, t) * x_0 + _at(self.noise, t) * eps

    def target(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """What a network should put out for `q_sample(x_0, t, eps)`, (B, C, H, W)."""
        return self.prediction.target(x_0, eps, _at(self.signal, t), _at(self.noise, t))

    def split(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """The prediction in a network's output, and what it says of the variance if that is learned: (B, C, H, W)."""
        if not self.learned_variance:
            return output, None
        prediction, v = output.chunk(2, dim=1)
        return prediction, v

    def implied_x_0(self, x_t: Tensor, t: Tensor, prediction: Tensor) -> Tensor:
        """The clean images that a prediction implies, (B, C, H, W).

        Source: Ho et al. 2020, equation 15, for eps; `predictions` for the others.
        """
        return self.prediction.x_0(prediction, x_t, _at(self.signal, t), _at(self.noise, t))

    def predict_x_0(self, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """The clean images that a network's output implies, (B, C, H, W), clipped to [-1, 1]."""
        return self.implied_x_0(x_t, t, self.split(output)[0]).clamp(-1, 1)


def _at(values: Tensor, t: Tensor) -> Tensor:
    return values[t][:, None, None, None]
