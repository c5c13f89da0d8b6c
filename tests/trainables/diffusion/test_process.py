"""The forward process: its moments, its inverse, and diffusers' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.testing import assert_close

from trainables.diffusion.predictions import PREDICTIONS
from trainables.diffusion.process import Process
from trainables.sections import Diffusion

SCHEDULES = ["linear", "cosine", "sigmoid"]


def _draws(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 4, 4, generator=g) * 2 - 1, torch.randn(count, 1, 4, 4, generator=g)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0, 250, 999])
def test_moments_of_q_sample(schedule: str, t: int) -> None:
    process = Process(Diffusion(beta_schedule=schedule))
    remaining = float(np.prod(1 - process.betas.numpy()[: t + 1]))
    eps = torch.randn(2000, 1, 8, 8, generator=torch.Generator().manual_seed(t))
    x_t = process.q_sample(torch.full_like(eps, 0.3), torch.full((2000,), t), eps)
    n = x_t.numel()
    assert float(x_t.mean()) == pytest.approx(0.3 * remaining**0.5, abs=5 * ((1 - remaining) / n) ** 0.5)
    assert float(x_t.var()) == pytest.approx(1 - remaining, rel=5 * (2 / n) ** 0.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_q_sample_is_diffusers_add_noise(schedule: str) -> None:
    process = Process(Diffusion(beta_schedule=schedule))
    theirs = DDPMScheduler(1000, trained_betas=process.betas.numpy())
    t = torch.tensor([0, 1, 17, 500, 998, 999])
    x_0, eps = _draws(len(t))
    assert_close(process.q_sample(x_0, t, eps), theirs.add_noise(x_0, eps, t), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predict_x_0_inverts_the_target(schedule: str, prediction: str) -> None:
    process = Process(Diffusion(beta_schedule=schedule, prediction=prediction))
    t = torch.arange(0, 900, 50)
    x_0, eps = _draws(len(t))
    target = process.target(x_0, t, eps)
    assert_close(process.predict_x_0(process.q_sample(x_0, t, eps), t, target), x_0, rtol=0, atol=1e-4)


def test_target_of_v_is_diffusers_velocity() -> None:
    process = Process(Diffusion(prediction="v"))
    theirs = DDPMScheduler(1000, trained_betas=process.betas.numpy())
    t = torch.tensor([0, 1, 17, 500, 998, 999])
    x_0, eps = _draws(len(t))
    assert_close(process.target(x_0, t, eps), theirs.get_velocity(x_0, eps, t), rtol=1e-4, atol=1e-5)


def test_predict_x_0_stays_in_the_images_range() -> None:
    process = Process(Diffusion())
    x_0, eps = _draws(8)
    predicted = process.predict_x_0(x_0 * 5, torch.full((8,), 500), eps)
    assert predicted.min() == -1
    assert predicted.max() == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_snr_is_the_signals_power_over_the_noises(schedule: str) -> None:
    process = Process(Diffusion(beta_schedule=schedule))
    kept = torch.tensor(np.cumprod(1 - process.betas.numpy()))
    assert_close(process.snr, kept / (1 - kept), rtol=1e-9, atol=0)
    x_0, _ = _draws(process.timesteps)
    t, one = torch.arange(process.timesteps), torch.ones_like(x_0)
    signal, noise = process.q_sample(one, t, 0 * one), process.q_sample(0 * one, t, one)
    assert_close(process.snr.float(), (signal / noise)[:, 0, 0, 0] ** 2, rtol=1e-3, atol=0)
