"""The schedules against diffusers', and what every schedule must have."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from torch.testing import assert_close

from trainables.config import Diffusion
from trainables.diffusion.process import Process
from trainables.diffusion.schedules import betas, cosine_betas, linear_betas

SCHEDULES = ["linear", "cosine"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("timesteps", [2, 10, 1000, 4000])
def test_snr_strictly_falls_and_betas_are_variances(schedule: str, timesteps: int) -> None:
    process = Process(Diffusion(timesteps=timesteps, beta_schedule=schedule))
    assert process.timesteps == timesteps
    assert process.betas.dtype == torch.float64
    assert ((process.betas > 0) & (process.betas < 1)).all()
    assert (process.snr.diff() < 0).all()
    assert process.snr[-1] > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_image_is_almost_whole_at_first_and_almost_gone_at_last(schedule: str) -> None:
    process = Process(Diffusion(beta_schedule=schedule))
    assert process.alphas_cumprod[0] > 0.999
    assert process.alphas_cumprod[-1] < 1e-4


@pytest.mark.parametrize("timesteps", [10, 1000])
def test_linear_is_that_of_diffusers(timesteps: int) -> None:
    theirs = DDPMScheduler(timesteps, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    assert_close(linear_betas(timesteps).float(), theirs.betas, rtol=1e-6, atol=0)


@pytest.mark.parametrize("timesteps", [100, 1000, 4000])
def test_cosine_is_that_of_diffusers_where_it_is_not_clipped_below(timesteps: int) -> None:
    theirs = DDPMScheduler(timesteps, beta_schedule="squaredcos_cap_v2").betas
    ours = cosine_betas(timesteps, beta_min=1e-4).float()
    assert_close(ours, theirs.clamp(min=1e-4), rtol=1e-5, atol=0)
    assert ours[-1] == pytest.approx(0.999)


def test_lower_clip_acts_on_the_first_steps_alone() -> None:
    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").betas
    clipped = cosine_betas(1000) == 1e-4
    assert clipped.any()
    assert torch.equal(clipped, theirs < 1e-4)


@pytest.mark.parametrize(
    ("setting", "schedule", "place"),
    [("beta_start", "linear", 0), ("beta_end", "linear", -1), ("beta_start", "cosine", 0), ("beta_max", "cosine", -1)],
)
def test_each_setting_is_the_end_that_it_names(setting: str, schedule: str, place: int) -> None:
    value = {"beta_start": 0.001, "beta_end": 0.05, "beta_max": 0.9}[setting]
    assert betas(Diffusion(beta_schedule=schedule, **{setting: value}))[place] == pytest.approx(value)
