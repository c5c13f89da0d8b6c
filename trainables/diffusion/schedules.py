"""The noise schedules: `betas` (T,), the variance of the noise that each step of the forward process adds.

    q(x_t | x_{t-1}) = N(sqrt(1 - betas[t]) x_{t-1}, betas[t] I)
    alphas_cumprod[t] = prod_{s <= t} (1 - betas[s])

Everything is computed in float64: at T = 1000 float32 loses the last digits of alphas_cumprod.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.config import Diffusion


def betas(diffusion: Diffusion) -> Tensor:
    """The variances that `diffusion` asks for, (T,) float64 in (0, 1)."""
    return SCHEDULES[diffusion.beta_schedule](diffusion)


def linear_betas(timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """Betas that rise linearly from `beta_start` to `beta_end`, (timesteps,).

    Source: Ho et al. 2020 (arXiv:2006.11239), section 4.
    """
    return torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)


def cosine_betas(timesteps: int, beta_min: float = 1e-4, beta_max: float = 0.999, offset: float = 0.008) -> Tensor:
    """Betas whose alphas_cumprod falls as a squared cosine, clipped at both ends, (timesteps,).

    Source: Nichol & Dhariwal 2021 (arXiv:2102.09672), equation 17. They clip above only; the lower clip, which the
    ablation study describes, keeps the first steps from adding almost no noise.
    """
    t = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    alphas_cumprod = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(beta_min, beta_max)


def _linear(diffusion: Diffusion) -> Tensor:
    return linear_betas(diffusion.timesteps, diffusion.beta_start, diffusion.beta_end)


def _cosine(diffusion: Diffusion) -> Tensor:
    return cosine_betas(diffusion.timesteps, diffusion.beta_start, diffusion.beta_max)


SCHEDULES: dict[str, Callable[[Diffusion], Tensor]] = {"linear": _linear, "cosine": _cosine}
