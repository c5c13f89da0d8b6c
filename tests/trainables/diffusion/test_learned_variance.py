"""The learned variance: its bound against torch's distributions, its sampler against diffusers', and what it trains."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from trainables.diffusion.learned_variance import VariationalBound
from trainables.diffusion.objective import Objective
from trainables.diffusion.process import Process
from trainables.diffusion.samplers import denoise
from trainables.sections import Diffusion, Sampling, Training

LEVELS = torch.arange(256).float() / 127.5 - 1


class Fake(nn.Module):
    """A deterministic function of x_t and t: a prediction, and where the variance lies, now and then beyond 1."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        at = t[:, None, None, None] / 100
        return torch.cat([0.8 * x_t + 0.3 * torch.sin(3 * x_t + at), 1.1 * torch.sin(5 * x_t + at)], dim=1)


class Says(nn.Module):
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.output


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _images(count: int) -> Tensor:
    """Of 256 levels, as all images are; the outermost ones among them."""
    index = torch.randint(256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(3))
    index[:, 0, 0, :2] = torch.tensor([0, 255])
    return LEVELS[index]


def _gaussians(process: Process, t: int, x_0: Tensor, x_t: Tensor, guess: Tensor, v: Tensor) -> tuple[Normal, Normal]:
    """The posterior and the network's step in float64, written from Ho et al. 2020, equations 6 and 7."""
    betas = process.betas
    kept = torch.cumprod(1 - betas, 0)
    before = kept[t - 1] if t else torch.tensor(1.0, dtype=torch.float64)
    of_x_0 = before.sqrt() * betas[t] / (1 - kept[t])
    of_x_t = (1 - betas[t]).sqrt() * (1 - before) / (1 - kept[t])
    first = max(t, 1)  # Nichol & Dhariwal take the second step's lower bound for the first one's, which is 0
    least = (1 - kept[first - 1]) / (1 - kept[first]) * betas[first]
    f = (v.double() + 1) / 2
    variance = (f * betas[t].log() + (1 - f) * least.log()).exp()
    return (
        Normal(of_x_0 * x_0.double() + of_x_t * x_t.double(), least.sqrt()),
        Normal(of_x_0 * guess.double() + of_x_t * x_t.double(), variance.sqrt()),
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("t", [1, 2, 100, 999])
def test_terms_are_the_divergence_of_the_two_gaussians(schedule: str, t: int) -> None:
    process, x_0 = Process(Diffusion(beta_schedule=schedule)), _images(3)
    steps, v, guess = torch.full((3,), t), _noise(3, 1, 4, 4, seed=1), x_0 + 0.1 * _noise(3, 1, 4, 4, seed=2)
    x_t = process.q_sample(x_0, steps, _noise(3, 1, 4, 4))
    expected = kl_divergence(*_gaussians(process, t, x_0, x_t, guess, v)).flatten(1).mean(1) / math.log(2)
    assert_close(VariationalBound(process).terms(x_0, x_t, steps, guess, v).double(), expected, rtol=1e-3, atol=1e-5)


def test_the_last_term_is_the_likelihood_of_the_levels() -> None:
    process, x_0 = Process(Diffusion()), _images(3)
    steps, v, guess = torch.zeros(3).long(), _noise(3, 1, 4, 4, seed=1), x_0 + 0.01 * _noise(3, 1, 4, 4, seed=2)
    x_t = process.q_sample(x_0, steps, _noise(3, 1, 4, 4))
    _, step = _gaussians(process, 0, x_0, x_t, guess, v)
    edges = torch.cat([torch.tensor([-math.inf]), (LEVELS[1:] + LEVELS[:-1]) / 2, torch.tensor([math.inf])]).double()
    level = ((x_0 + 1) * 127.5).round().long()
    share = step.cdf(edges[level + 1]) - step.cdf(edges[level])
    expected = -share.log2().flatten(1).mean(1)
    assert_close(VariationalBound(process).terms(x_0, x_t, steps, guess, v).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_loss_is_l_hybrid_and_its_mean_is_held_fixed(prediction: str) -> None:
    settings = {"timesteps": 400, "prediction": prediction}
    usual = Objective(Process(Diffusion(**settings)), Training())
    hybrid = Objective(Process(Diffusion(**settings, learned_variance=True)), Training())
    t, x_0, eps = torch.tensor([0, 1, 50, 399]), _images(4), _noise(4, 1, 4, 4)
    output = _noise(4, 2, 4, 4, seed=5).requires_grad_()
    simple = usual.loss(Says(output[:, :1]), x_0, t, eps)
    (of_prediction,) = torch.autograd.grad(simple, output)
    whole = hybrid.loss(Says(output), x_0, t, eps)
    (found,) = torch.autograd.grad(whole, output)
    assert torch.equal(found[:, :1], of_prediction[:, :1])
    assert found[:, 1:].flatten(1).any(1).all()
    x_t = usual.process.q_sample(x_0, t, eps)
    guess = usual.process.implied_x_0(x_t, t, output[:, :1].detach())
    bits = VariationalBound(usual.process).terms(x_0, x_t, t, guess, output[:, 1:].detach())
    assert float(whole.detach()) == pytest.approx(float(simple.detach() + 0.001 * 400 * bits.mean()), rel=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("prediction", "their_name"), [("eps", "epsilon"), ("v", "v_prediction")])
def test_trajectory_is_that_of_diffusers(schedule: str, prediction: str, their_name: str) -> None:
    settings = {"beta_schedule": schedule, "beta_end": 0.1, "beta_scaling": "none", "prediction": prediction}
    process = Process(Diffusion(timesteps=100, learned_variance=True, **settings))
    theirs = DDPMScheduler(
        100, trained_betas=process.betas.numpy(), variance_type="learned_range", clip_sample=True,
        prediction_type=their_name,
    )  # fmt: skip
    x_t, rng = _noise(3, 1, 4, 4), torch.Generator().manual_seed(1)
    sampling = Sampling(sampler="ddpm", sampling_steps=100)
    ours = list(denoise(Fake(), process, x_t, sampling, torch.Generator().manual_seed(1)))
    for t, (s, x_s) in zip(range(99, -1, -1), ours, strict=True):
        x_t = theirs.step(Fake()(x_t, torch.full((3,), t)), t, x_t, generator=rng).prev_sample
        assert s == t - 1
        assert_close(x_s, x_t, rtol=2e-3, atol=5e-4)


def test_with_fewer_steps_the_bounds_are_those_of_the_steps_that_are_made() -> None:
    """diffusers' with the same stride: 10 of 100 timesteps."""
    process = Process(Diffusion(timesteps=100, learned_variance=True, beta_scaling="none", beta_end=0.1))
    theirs = DDPMScheduler(100, trained_betas=process.betas.numpy(), variance_type="learned_range", clip_sample=True)
    theirs.set_timesteps(timesteps=list(range(99, -1, -11)))
    x_t, rng = _noise(3, 1, 4, 4), torch.Generator().manual_seed(1)
    sampling = Sampling(sampler="ddpm", sampling_steps=10)
    ours = list(denoise(Fake(), process, x_t, sampling, torch.Generator().manual_seed(1)))
    assert [s for s, _ in ours[:-1]] == list(range(88, -1, -11))
    for t, (_, x_s) in zip(range(99, 0, -11), ours, strict=False):
        x_t = theirs.step(Fake()(x_t, torch.full((3,), t)), t, x_t, generator=rng).prev_sample
        assert_close(x_s, x_t, rtol=2e-3, atol=5e-4)
