"""Samplers: from noise to images, over any sub-sequence of the timesteps.

One step of either sampler goes from t to s < t, with a = alphas_cumprod (1 where s is -1, the clean image):

    x_0   = what the network's output implies (`predictions`), clipped
    eps   = (x_t - sqrt(a_t) x_0) / sqrt(1 - a_t)
    sigma = eta sqrt((1 - a_s) / (1 - a_t)) sqrt(1 - a_t / a_s)
    x_s   = sqrt(a_s) x_0 + sqrt(1 - a_s - sigma^2) eps + sigma z

    sampler | eta
    ddim    | 0    deterministic
    ddpm    | 1    ancestral sampling with the posterior's variance, when no timestep is left out

Where the variance is learned, z is multiplied by the deviation that the network says in place of sigma.

Source: Song et al. 2021 (arXiv:2010.02502), equations 12 and 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from trainables.diffusion.learned_variance import log_variance
from trainables.diffusion.process import Process
from trainables.own_parts import PartError, load
from trainables.sections import Sampling

# A step of a person's own: (x_t, x_0, eps, a_t, a_s, generator, **args) -> x_s.
Step = Callable[..., Tensor]

ETA = {"ddim": 0.0, "ddpm": 1.0}


def respaced(timesteps: int, sampling_steps: int) -> list[int]:
    """The timesteps that are visited, falling from T-1 to 0, `sampling_steps` of them, evenly spaced."""
    if sampling_steps == 1:
        return [timesteps - 1]
    return [round(i * (timesteps - 1) / (sampling_steps - 1)) for i in reversed(range(sampling_steps))]


def p_sample(process: Process, x_t: Tensor, output: Tensor, t: int, s: int, eta: float, z: Tensor | None) -> Tensor:
    """Images at timestep `s` from images at timestep `t`, (B, C, H, W): one step of the equations above.

    Args:
        x_t: noisy images, (B, C, H, W).
        output: the network's for them, (B, C, H, W), or (B, 2C, H, W) with a learned variance.
        s: the timestep to go to; -1 is the clean image.
        eta: 0 deterministic, 1 ancestral.
        z: standard normal noise, (B, C, H, W); needed where eta > 0.
    """
    a_t, a_s = _signal_variances(process, t, s)
    x_0, eps, v = _implied(process, x_t, output, a_t)
    sigma = eta * ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)) ** 0.5
    x_s = a_s**0.5 * x_0 + max(0.0, 1 - a_s - sigma**2) ** 0.5 * eps
    if z is None or sigma == 0:
        return x_s
    if v is None:
        return x_s + sigma * z
    return x_s + (log_variance(v, math.log(1 - a_t / a_s), math.log(sigma**2)) / 2).exp() * z


def own_step(
    process: Process, x_t: Tensor, output: Tensor, t: int, s: int, sampling: Sampling, generator: torch.Generator
) -> Tensor:
    """Images at timestep `s` from images at timestep `t`, (B, C, H, W), by the step of the person's own.

    Raises:
        PartError: it gives something else.
    """
    a_t, a_s = _signal_variances(process, t, s)
    x_0, eps, _ = _implied(process, x_t, output, a_t)
    step: Step = load(sampling.sampler)
    x_s = step(x_t, x_0, eps, a_t, a_s, generator, **sampling.sampler_args)
    if not isinstance(x_s, Tensor) or x_s.shape != x_t.shape or x_s.dtype != x_t.dtype:
        got = f"{tuple(x_s.shape)} of {x_s.dtype}" if isinstance(x_s, Tensor) else type(x_s).__name__
        raise PartError(f"{sampling.sampler}: must give images {tuple(x_t.shape)} of {x_t.dtype}, not {got}")
    return x_s


def _signal_variances(process: Process, t: int, s: int) -> tuple[float, float]:
    """alphas_cumprod at t and at s, 1 where s is the clean image."""
    return float(process.alphas_cumprod[t]), float(process.alphas_cumprod[s]) if s >= 0 else 1.0


def _implied(process: Process, x_t: Tensor, output: Tensor, a_t: float) -> tuple[Tensor, Tensor, Tensor | None]:
    """x_0, clipped, and eps that the network's output implies, and what says its variance if it is learned."""
    prediction, v = process.split(output)
    x_0 = process.prediction.x_0(prediction, x_t, a_t**0.5, (1 - a_t) ** 0.5).clamp(-1, 1)
    # The clipped x_0 implies another noise; going on with the network's own would leave the clipped path.
    return x_0, (x_t - a_t**0.5 * x_0) / (1 - a_t) ** 0.5, v


@torch.no_grad()
def denoise(
    model: nn.Module, process: Process, x_t: Tensor, sampling: Sampling, generator: torch.Generator, done: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """The pairs (s, x_s) from the next step's result to (-1, the clean images in [-1, 1], (B, C, H, W)).

    Args:
        model: predicts from (x_t, t) what the process says.
        x_t: standard normal noise, or what `done` steps have made of it, (B, C, H, W).
        generator: gives the steps' noise, on x_t's device.
    """
    visited = respaced(process.timesteps, sampling.sampling_steps)
    eta = ETA.get(sampling.sampler)
    for t, s in list(zip(visited, [*visited[1:], -1], strict=True))[done:]:
        output = model(x_t, torch.full((len(x_t),), t, device=x_t.device)).float()
        if eta is None:
            x_t = own_step(process, x_t, output, t, s, sampling, generator)
        else:
            z = torch.randn(x_t.shape, generator=generator, device=x_t.device) if eta else None
            x_t = p_sample(process, x_t, output, t, s, eta, z)
        yield s, x_t
