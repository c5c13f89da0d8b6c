"""The samplers against diffusers' over whole trajectories, and on a model whose data are one point."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn
from torch.testing import assert_close

from trainables.diffusion.process import Process
from trainables.diffusion.samplers import denoise, respaced
from trainables.sections import Diffusion, Sampling


class Fake(nn.Module):
    """A deterministic function of x_t and t, rough enough for x_0 to be clipped now and then."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return 0.8 * x_t + 0.3 * torch.sin(3 * x_t + t[:, None, None, None] / 100)


class PointMass(nn.Module):
    """The perfect denoiser where every image is `point`."""

    def __init__(self, process: Process, point: Tensor) -> None:
        super().__init__()
        self.alphas_cumprod, self.point = process.alphas_cumprod, point

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        a = self.alphas_cumprod[t].float()[:, None, None, None]
        return (x_t - a.sqrt() * self.point) / (1 - a).sqrt()


def _noise(seed: int = 0) -> Tensor:
    return torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


# Our name of what is predicted, and diffusers'.
PREDICTIONS = pytest.mark.parametrize(
    ("prediction", "their_name"), [("eps", "epsilon"), ("x_0", "sample"), ("v", "v_prediction")]
)


def _trajectory(process: Process, sampler: str, steps: int, seed: int = 1) -> list[tuple[int, Tensor]]:
    sampling = Sampling(sampler=sampler, sampling_steps=steps)
    return list(denoise(Fake(), process, _noise(), sampling, torch.Generator().manual_seed(seed)))


# diffusers goes down by a fixed stride: T - 1 must be a multiple of the steps - 1.
@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 28), (1000, 10), (100, 100)])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@PREDICTIONS
def test_ddim_trajectory_is_that_of_diffusers(
    schedule: str, timesteps: int, steps: int, prediction: str, their_name: str
) -> None:
    process = Process(Diffusion(timesteps=timesteps, beta_schedule=schedule, prediction=prediction))
    theirs = DDIMScheduler(
        timesteps, trained_betas=process.betas.numpy(), clip_sample=True, set_alpha_to_one=True,
        prediction_type=their_name,
    )  # fmt: skip
    stride = (timesteps - 1) // (steps - 1)
    theirs.num_inference_steps = timesteps // stride
    assert timesteps // theirs.num_inference_steps == stride
    x_t, ours = _noise(), _trajectory(process, "ddim", steps)
    for i, (s, x_s) in enumerate(ours):
        t = timesteps - 1 - stride * i
        output = Fake()(x_t, torch.full((3,), t))
        x_t = theirs.step(output, t, x_t, eta=0.0, use_clipped_model_output=True).prev_sample
        assert s == (t - stride if t else -1)
        assert_close(x_s, x_t, rtol=1e-3, atol=2e-4)
    assert len(ours) == steps


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@PREDICTIONS
def test_ddpm_trajectory_is_that_of_diffusers(schedule: str, prediction: str, their_name: str) -> None:
    settings = {"beta_schedule": schedule, "beta_end": 0.1, "beta_scaling": "none", "prediction": prediction}
    process = Process(Diffusion(timesteps=100, **settings))
    theirs = DDPMScheduler(
        100, trained_betas=process.betas.numpy(), variance_type="fixed_small", clip_sample=True,
        prediction_type=their_name,
    )  # fmt: skip
    x_t, rng, ours = _noise(), torch.Generator().manual_seed(1), _trajectory(process, "ddpm", 100, seed=1)
    for t, (s, x_s) in zip(range(99, -1, -1), ours, strict=True):
        x_t = theirs.step(Fake()(x_t, torch.full((3,), t)), t, x_t, generator=rng).prev_sample
        assert s == t - 1
        assert_close(x_s, x_t, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize(("prediction", "their_name"), [("x_0", "sample"), ("v", "v_prediction")])
def test_trajectory_from_no_signal_is_that_of_diffusers(sampler: str, prediction: str, their_name: str) -> None:
    usual = Diffusion(timesteps=100, beta_end=0.1, beta_scaling="none", prediction=prediction)
    process = Process(usual.model_copy(update={"zero_terminal_snr": True}))
    scheduler = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}[sampler]
    theirs = scheduler(
        100, trained_betas=Process(usual).betas.float().numpy(), rescale_betas_zero_snr=True, clip_sample=True,
        prediction_type=their_name,
    )  # fmt: skip
    theirs.set_timesteps(100)
    more = {"ddim": {"use_clipped_model_output": True}, "ddpm": {"generator": torch.Generator().manual_seed(1)}}
    x_t = _noise()
    for t, (s, x_s) in zip(range(99, -1, -1), _trajectory(process, sampler, 100, seed=1), strict=True):
        x_t = theirs.step(Fake()(x_t, torch.full((3,), t)), t, x_t, **more[sampler]).prev_sample
        assert s == t - 1
        assert_close(x_s, x_t, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
def test_perfect_denoiser_of_a_point_mass_returns_the_point(sampler: str, steps: int) -> None:
    process = Process(Diffusion())
    point = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)
    sampling = Sampling(sampler=sampler, sampling_steps=steps)
    *_, (s, x_0) = denoise(PointMass(process, point), process, _noise(), sampling, torch.Generator())
    assert s == -1
    assert_close(x_0, point.expand(3, 1, 4, 4), rtol=0, atol=1e-4)


def test_only_ddpm_draws_noise() -> None:
    process = Process(Diffusion(timesteps=50))
    ends = {
        sampler: [_trajectory(process, sampler, 10, seed)[-1][1] for seed in (1, 2)] for sampler in ("ddim", "ddpm")
    }
    assert torch.equal(*ends["ddim"])
    assert not torch.equal(*ends["ddpm"])


@pytest.mark.parametrize("timesteps", [2, 3, 10, 37, 1000])
def test_respaced_falls_strictly_and_evenly_from_the_last_to_0(timesteps: int) -> None:
    for steps in range(2, min(timesteps, 120) + 1):
        visited = respaced(timesteps, steps)
        assert len(visited) == steps
        assert (visited[0], visited[-1]) == (timesteps - 1, 0)
        assert all(t > s for t, s in pairwise(visited))
        exact = [(timesteps - 1) * (1 - i / (steps - 1)) for i in range(steps)]
        assert max(abs(t - e) for t, e in zip(visited, exact, strict=True)) <= 0.5 + 1e-9


def test_one_step_starts_at_the_noise() -> None:
    assert respaced(1000, 1) == [999]


def test_ddpm_with_few_steps_and_little_signal_left_stays_real() -> None:
    process = Process(Diffusion(timesteps=4000, beta_end=0.03))
    *_, (_, x_0) = _trajectory(process, "ddpm", 3)
    assert x_0.dtype == torch.float32


def test_images_are_drawn_without_a_graph_of_the_network() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 1, 1)

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return self.convolution(x_t)

    process = Process(Diffusion())
    drawn = list(denoise(Learned(), process, _noise(), Sampling(sampling_steps=3), torch.Generator()))
    assert [x_t.requires_grad for _, x_t in drawn] == [False] * 3
