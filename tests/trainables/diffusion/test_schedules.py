"""The schedules against diffusers', and what every schedule must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from torch.testing import assert_close

from trainables.diffusion.process import Process
from trainables.diffusion.schedules import (
    betas,
    linear_betas,
    log_snr,
    terminal_signal,
    timesteps_at,
)
from trainables.sections import Diffusion

SCHEDULES = ["linear", "cosine", "sigmoid"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("timesteps", "scaling"), [(2, "none"), (10, "none"), (25, "by_timesteps"), (1000, "none"),
                                                    (1000, "by_timesteps"), (4000, "by_timesteps")])  # fmt: skip
def test_snr_strictly_falls_and_betas_are_variances(schedule: str, timesteps: int, scaling: str) -> None:
    process = Process(Diffusion(timesteps=timesteps, beta_schedule=schedule, beta_scaling=scaling))
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
    assert_close(torch.from_numpy(linear_betas(timesteps)).float(), theirs.betas, rtol=1e-6, atol=0)


@pytest.mark.parametrize("timesteps", [100, 1000, 4000])
@pytest.mark.parametrize("beta_min", [0.0, 1e-4])
def test_cosine_is_that_of_diffusers_above_the_lower_clip(timesteps: int, beta_min: float) -> None:
    theirs = DDPMScheduler(timesteps, beta_schedule="squaredcos_cap_v2").betas
    ours = torch.from_numpy(betas(Diffusion(timesteps=timesteps, beta_schedule="cosine", beta_min=beta_min))).float()
    # The first ones are differences of numbers near 1, which their float32 has lost.
    assert_close(ours, theirs.clamp(min=beta_min), rtol=1e-5, atol=1e-7)
    assert ours[-1] == pytest.approx(0.999)


def test_lower_clip_is_a_setting_and_raises_no_beta_unless_it_is_set() -> None:
    free, clipped = (betas(Diffusion(timesteps=4000, beta_schedule="cosine", beta_min=b)) for b in (0.0, 1e-4))
    assert (free < 1e-4).sum() == (clipped == 1e-4).sum() == 296
    np.testing.assert_array_equal(clipped, free.clip(1e-4))
    np.testing.assert_array_equal(free, betas(Diffusion(timesteps=4000, beta_schedule="cosine", beta_start=0.01)))


@pytest.mark.parametrize("timesteps", [10, 1000])
def test_sigmoid_is_the_papers(timesteps: int) -> None:
    """Jabri et al. 2022, their listing of the schedule: gamma(t), t in [0, 1], with start -3, end 3, tau 1."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def gamma(t: float) -> float:
        first, last = sigmoid(-3), sigmoid(3)
        return (last - sigmoid(t * (3 - -3) + -3)) / (last - first)

    kept = np.cumprod(1 - betas(Diffusion(timesteps=timesteps, beta_schedule="sigmoid", beta_scaling="none")))
    np.testing.assert_allclose(kept[:-1], [gamma((i + 1) / timesteps) for i in range(timesteps - 1)], rtol=1e-9)
    assert kept[-1] == pytest.approx(0.001 * kept[-2])  # nothing would be left: the last beta is clipped to 0.999


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("timesteps", [100, 1000])
def test_zero_terminal_snr_is_diffusers(schedule: str, timesteps: int) -> None:
    usual = Diffusion(timesteps=timesteps, beta_schedule=schedule)
    rescaled = betas(usual.model_copy(update={"zero_terminal_snr": True}))
    assert_close(torch.from_numpy(rescaled), rescale_zero_terminal_snr(torch.from_numpy(betas(usual))))
    assert np.cumprod(1 - rescaled)[-1] == 0
    assert rescaled[0] == pytest.approx(betas(usual)[0])  # its beginning stays


def test_what_is_said_of_a_schedule_copes_with_no_signal_left() -> None:
    diffusion = Diffusion(zero_terminal_snr=True, prediction="v")
    assert terminal_signal(diffusion) == 0
    levels = log_snr(diffusion)
    assert levels[-1] == -math.inf
    assert np.isfinite(levels[:-1]).all()
    assert timesteps_at(diffusion, (0.0, float(levels[-2]))) == (int(np.abs(levels).argmin()), 998)
    with pytest.raises(ValueError, match=r"from -1\d\.\d to 9\.21, .* but got -100"):
        timesteps_at(diffusion, (-100.0,))
    process = Process(diffusion)
    assert process.snr[-1] == 0
    assert process.signal[-1] == 0
    assert process.noise[-1] == 1


@pytest.mark.parametrize("timesteps", [50, 100, 500, 4000])
def test_scaled_linear_betas_add_the_noise_of_1000_timesteps(timesteps: int) -> None:
    usual = Diffusion()
    assert terminal_signal(Diffusion(timesteps=timesteps)) == pytest.approx(terminal_signal(usual), abs=0.004)
    # The signal at the same part of the way is nearly the same too.
    for part in (0.25, 0.5, 0.75):
        levels = log_snr(Diffusion(timesteps=timesteps))
        assert levels[int(part * timesteps)] == pytest.approx(
            log_snr(usual)[int(part * 1000)], abs=0.04 + 60 / timesteps
        )


def test_linear_betas_that_are_not_scaled_leave_signal_where_sampling_begins() -> None:
    left = Diffusion(timesteps=100, beta_scaling="none")
    assert terminal_signal(left) == pytest.approx(0.603, abs=1e-3)
    assert terminal_signal(left) == pytest.approx(float(Process(left).signal[-1]))


def test_scaling_is_nothing_at_1000_timesteps() -> None:
    np.testing.assert_array_equal(betas(Diffusion()), betas(Diffusion(beta_scaling="none")))


def test_log_snr_is_that_of_the_process() -> None:
    diffusion = Diffusion(beta_schedule="cosine")
    assert_close(torch.from_numpy(log_snr(diffusion)), Process(diffusion).snr.log())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("timesteps", [250, 1000])
def test_a_noise_level_is_the_nearest_timestep_of_any_schedule(schedule: str, timesteps: int) -> None:
    diffusion = Diffusion(beta_schedule=schedule, timesteps=timesteps)
    found = timesteps_at(diffusion, (3.5, 0.0, -2.0))
    levels = log_snr(diffusion)
    for t, wanted in zip(found, (3.5, 0.0, -2.0), strict=True):
        assert abs(levels[t] - wanted) == np.abs(levels - wanted).min()
        assert abs(levels[t] - wanted) < 0.1
    assert timesteps_at(diffusion, [float(levels[t]) for t in (5, 77)]) == (5, 77)


@pytest.mark.parametrize(
    ("levels", "said"),
    [((12.0,), r"from -10.1 to 9.21, .* but got 12"), ((1.0, 1.0001), r"different timesteps, .* are \[172, 172\]")],
)
def test_noise_levels_that_a_schedule_does_not_have_are_refused(levels: tuple[float, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        timesteps_at(Diffusion(), levels)


@pytest.mark.parametrize(
    ("setting", "schedule", "place"),
    [
        ("beta_start", "linear", 0),
        ("beta_end", "linear", -1),
        ("beta_min", "cosine", 0),
        ("beta_max", "cosine", -1),
        ("beta_min", "sigmoid", 0),
        ("beta_max", "sigmoid", -1),
    ],
)
def test_each_setting_is_the_end_that_it_names(setting: str, schedule: str, place: int) -> None:
    value = {"beta_start": 0.001, "beta_end": 0.05, "beta_min": 0.001, "beta_max": 0.9}[setting]
    assert betas(Diffusion(beta_schedule=schedule, **{setting: value}))[place] == pytest.approx(value)
