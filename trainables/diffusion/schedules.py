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
    """The variances that `diffusion` asks for, (T,) in (0, 1); the last is 1 where no signal is to be left.

    Raises:
        PartError: a schedule of the person's own that gives something else.
    """
    name = diffusion.beta_schedule
    found = SCHEDULES[name](diffusion) if name in SCHEDULES else _own(diffusion)
    return zero_terminal_snr(found) if diffusion.zero_terminal_snr else found


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


def sigmoid_betas(
    timesteps: int, beta_min: float = 0.0, beta_max: float = 0.999, start: float = -3, end: float = 3, tau: float = 1.0
) -> Array:
    """Betas whose alphas_cumprod falls as a sigmoid from `start` to `end`, clipped at both ends, (timesteps,).

    Source: Jabri et al. 2022 (arXiv:2212.11972), the sigmoid schedule with their default ends; not the one that
    diffusers calls so, whose betas themselves rise as a sigmoid.
    """
    at = np.linspace(start, end, timesteps + 1) / tau
    values = 1 / (1 + np.exp(-at))
    alphas_cumprod = (values[-1] - values) / (values[-1] - values[0])
    return np.clip(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], beta_min, beta_max)


def zero_terminal_snr(variances: Array) -> Array:
    """The same schedule, rescaled so that nothing is left of the image at its end, (T,).

    Source: Lin et al. 2024 (arXiv:2305.08891), algorithm 1.
    """
    signal = np.sqrt(np.cumprod(1 - variances))
    rescaled = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    alphas_cumprod = rescaled**2
    return 1 - alphas_cumprod / np.concatenate([[1.0], alphas_cumprod[:-1]])


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


def _sigmoid(diffusion: Diffusion) -> Array:
    return sigmoid_betas(diffusion.timesteps, diffusion.beta_min, diffusion.beta_max)


SCHEDULES: dict[str, Callable[[Diffusion], Array]] = {"linear": _linear, "cosine": _cosine, "sigmoid": _sigmoid}


def terminal_signal(diffusion: Diffusion) -> float:
    """sqrt(alphas_cumprod[T-1]), in [0, 1): what is left of the image where sampling begins, from noise alone.

    Source: Lin et al. 2024 (arXiv:2305.08891), section 3.1.
    """
    return float(np.sqrt(np.prod(1 - betas(diffusion))))


def log_snr(diffusion: Diffusion) -> Array:
    """log(alphas_cumprod / (1 - alphas_cumprod)) in nats, (T,), falling; -inf where no signal is left.

    Source: Kingma et al. 2021 (arXiv:2107.00630), section 3.1.
    """
    alphas_cumprod = np.cumprod(1 - betas(diffusion))
    with np.errstate(divide="ignore"):
        found: Array = np.log(alphas_cumprod / (1 - alphas_cumprod))
    return found


def timesteps_at(diffusion: Diffusion, noise_levels: Sequence[float]) -> tuple[int, ...]:
    """The timesteps whose log-SNR is nearest to each of `noise_levels`.

    Raises:
        ValueError: a level that the schedule does not reach, or two that are one timestep.
    """
    levels = log_snr(diffusion)
    least = levels[np.isfinite(levels)][-1]
    for level in noise_levels:
        if not least <= level <= levels[0]:
            raise ValueError(
                f"segmentation.noise_levels must be from {least:.3g} to {levels[0]:.3g}, the log-SNR of this "
                f"schedule, but got {level:g}"
            )
    found = tuple(int(np.abs(levels - level).argmin()) for level in noise_levels)
    if len(set(found)) < len(found):
        raise ValueError(
            f"segmentation.noise_levels must be of different timesteps, but {list(noise_levels)} are {list(found)}"
        )
    return found
