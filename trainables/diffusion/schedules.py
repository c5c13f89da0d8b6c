"""The noise schedules: `betas` (T,), the variance of the noise that each step of the forward process adds.

    q(x_t | x_{t-1}) = N(sqrt(1 - betas[t]) x_{t-1}, betas[t] I)
    alphas_cumprod[t] = prod_{s <= t} (1 - betas[s])

Everything is computed in float64: at T = 1000 float32 loses the last digits of alphas_cumprod. Imports no torch, so
that a plan can say what a schedule does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.own_parts import PartError, load, made
from trainables.sections import Diffusion

Array = NDArray[np.float64]

REFERENCE_TIMESTEPS = 1000  # that the linear schedule's ends are given for


def betas(diffusion: Diffusion) -> Array:
    """The variances that `diffusion` asks for, (T,) in (0, 1).

    Raises:
        PartError: a schedule of the person's own that gives something else.
    """
    name = diffusion.beta_schedule
    return SCHEDULES[name](diffusion) if name in SCHEDULES else _own(diffusion)


def linear_betas(timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Array:
    """Betas that rise linearly from `beta_start` to `beta_end`, (timesteps,).

    Source: Ho et al. 2020 (arXiv:2006.11239), section 4.
    """
    return np.linspace(beta_start, beta_end, timesteps)


def cosine_betas(timesteps: int, beta_min: float = 0.0, beta_max: float = 0.999, offset: float = 0.008) -> Array:
    """Betas whose alphas_cumprod falls as a squared cosine, clipped at both ends, (timesteps,).

    Source: Nichol & Dhariwal 2021 (arXiv:2102.09672), equation 17. They clip above only. The ablation study also clips
    below, at 1e-4, which keeps the first steps from adding almost no noise; the more timesteps, the more steps that is.
    """
    t = np.linspace(0, 1, timesteps + 1)
    alphas_cumprod = np.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return np.clip(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], beta_min, beta_max)


def _linear(diffusion: Diffusion) -> Array:
    """Ends that are scaled by 1000 / T add up to the same noise whatever T is.

    Source: Nichol & Dhariwal 2021, section 4, as their code has it for other T.
    """
    scale = REFERENCE_TIMESTEPS / diffusion.timesteps if diffusion.beta_scaling == "by_timesteps" else 1.0
    return linear_betas(diffusion.timesteps, scale * diffusion.beta_start, scale * diffusion.beta_end)


def _cosine(diffusion: Diffusion) -> Array:
    return cosine_betas(diffusion.timesteps, diffusion.beta_min, diffusion.beta_max)


def _own(diffusion: Diffusion) -> Array:
    """Of a function of the person's own: (timesteps, **args) -> betas."""
    name, T = diffusion.beta_schedule, diffusion.timesteps
    given = made(name, lambda: load(name)(T, **diffusion.beta_schedule_args))
    found: Array = made(name, lambda: np.asarray(given, dtype=np.float64))
    if found.shape != (T,) or not ((found > 0) & (found < 1)).all():
        got = f"shape {found.shape}" if found.shape != (T,) else f"{found.min():g} to {found.max():g}"
        raise PartError(f"{name}: must give {T} betas above 0 and below 1, but gives {got}")
    return found


SCHEDULES: dict[str, Callable[[Diffusion], Array]] = {"linear": _linear, "cosine": _cosine}


def terminal_signal(diffusion: Diffusion) -> float:
    """sqrt(alphas_cumprod[T-1]), in (0, 1): what is left of the image where sampling begins, from noise alone.

    Source: Lin et al. 2024 (arXiv:2305.08891), section 3.1.
    """
    return float(np.sqrt(np.prod(1 - betas(diffusion))))


def log_snr(diffusion: Diffusion) -> Array:
    """log(alphas_cumprod / (1 - alphas_cumprod)) in nats, (T,), falling.

    Source: Kingma et al. 2021 (arXiv:2107.00630), section 3.1.
    """
    alphas_cumprod = np.cumprod(1 - betas(diffusion))
    found: Array = np.log(alphas_cumprod / (1 - alphas_cumprod))
    return found


def timesteps_at(diffusion: Diffusion, noise_levels: Sequence[float]) -> tuple[int, ...]:
    """The timesteps whose log-SNR is nearest to each of `noise_levels`.

    Raises:
        ValueError: a level that the schedule does not reach, or two that are one timestep.
    """
    levels = log_snr(diffusion)
    for level in noise_levels:
        if not levels[-1] <= level <= levels[0]:
            raise ValueError(
                f"segmentation.noise_levels must be from {levels[-1]:.3g} to {levels[0]:.3g}, the log-SNR of this "
                f"schedule, but got {level:g}"
            )
    found = tuple(int(np.abs(levels - level).argmin()) for level in noise_levels)
    if len(set(found)) < len(found):
        raise ValueError(
            f"segmentation.noise_levels must be of different timesteps, but {list(noise_levels)} are {list(found)}"
        )
    return found
