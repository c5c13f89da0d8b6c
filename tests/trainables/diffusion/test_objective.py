"""The objective against torch's own losses, diffusers' SNR and the formulas of the papers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from trainables.diffusion.losses import LOSSES
from trainables.diffusion.objective import Objective
from trainables.diffusion.predictions import PREDICTIONS
from trainables.diffusion.process import Process
from trainables.sections import Diffusion, Training

SCHEDULES = ["linear", "cosine"]
TIMES = torch.arange(0, 1000, 37)


class Says(nn.Module):
    """Puts out what it is told to."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.output


class Learned(nn.Module):
    """A network of one convolution, rough in t."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.convolution(x_t) * torch.cos(t.float())[:, None, None, None]


def _draws(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 4, 4, generator=g) * 2 - 1, torch.randn(count, 1, 4, 4, generator=g)


def _objective(diffusion: dict[str, object] | None = None, **training: object) -> Objective:
    return Objective(Process(Diffusion(**(diffusion or {}))), Training(**training))


def test_the_usual_loss_and_its_gradient_are_torchs_to_the_last_bit() -> None:
    objective, (x_0, eps) = _objective(), _draws(len(TIMES))
    gradients = []
    for written_out in (False, True):
        torch.manual_seed(0)
        model = Learned()
        if written_out:
            a = torch.cumprod(1 - objective.process.betas, 0)[TIMES, None, None, None]
            loss = F.mse_loss(model(a.sqrt().float() * x_0 + (1 - a).sqrt().float() * eps, TIMES).float(), eps)
        else:
            loss = objective.loss(model, x_0, TIMES, eps)
        loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", ["uniform", "min_snr", "p2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_of_the_perfect_predictor_is_0(schedule: str, prediction: str, weighting: str, loss: str) -> None:
    diffusion = {"beta_schedule": schedule, "prediction": prediction}
    objective, (x_0, eps) = _objective(diffusion, loss=loss, loss_weighting=weighting), _draws(len(TIMES))
    target = objective.process.target(x_0, TIMES, eps)
    assert float(objective.loss(Says(target), x_0, TIMES, eps)) == 0
    assert float(objective.loss(Says(target + 1), x_0, TIMES, eps)) > 0.001


def test_loss_of_predicting_no_noise_is_the_noises_mean_square() -> None:
    x_0, eps = _draws(16)
    loss = _objective().loss(Says(torch.zeros_like(eps, dtype=torch.bfloat16)), x_0, torch.arange(16), eps)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float((eps.double() ** 2).mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "torchs"), [("mse", F.mse_loss), ("l1", F.l1_loss), ("huber", F.smooth_l1_loss)], ids=LOSSES
)
def test_each_loss_is_torchs_image_by_image(loss: str, torchs: object) -> None:
    target, output = _draws(9)
    expected = [float(torchs(one, other)) for one, other in zip(2 * output, target, strict=True)]
    assert LOSSES[loss](2 * output, target).tolist() == pytest.approx(expected, rel=1e-5)
    objective = _objective(loss=loss)
    found = objective.loss(Says(2 * output), torch.zeros_like(target), torch.arange(9), target)
    assert float(found) == pytest.approx(sum(expected) / 9, rel=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_is_that_of_diffusers_training_scripts(schedule: str, gamma: float, prediction: str) -> None:
    diffusion = {"beta_schedule": schedule, "prediction": prediction}
    objective = _objective(diffusion, loss_weighting="min_snr", min_snr_gamma=gamma)
    snr = compute_snr(DDPMScheduler(1000, trained_betas=objective.process.betas.numpy()), TIMES)
    least = torch.stack([snr, gamma * torch.ones_like(snr)], dim=1).min(dim=1)[0]
    expected = {"eps": least / snr, "v": least / (snr + 1), "x_0": least}[prediction]
    assert_close(objective.weights[TIMES], expected, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize(("gamma", "k"), [(1.0, 1.0), (0.5, 1.0), (1.0, 2.0)])
def test_p2_of_eps_is_the_papers(gamma: float, k: float) -> None:
    objective = _objective(loss_weighting="p2", p2_gamma=gamma, p2_k=k)
    kept = torch.cumprod(1 - objective.process.betas, 0)
    assert_close(objective.weights, ((k + kept / (1 - kept)) ** -gamma).float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("weighting", ["min_snr", "p2"])
def test_a_weighting_is_one_objective_whatever_is_predicted(weighting: str) -> None:
    # One wrong guess of x_0, told in three ways, costs the same: no conversion of a weight is forgotten.
    x_0, eps = _draws(len(TIMES))
    guess, losses = x_0 + 0.1 * eps.flip(0), []
    for prediction in PREDICTIONS:
        objective = _objective({"prediction": prediction}, loss_weighting=weighting)
        process = objective.process
        x_t = process.q_sample(x_0, TIMES, eps)
        kept = process.alphas_cumprod[TIMES, None, None, None]
        implied = ((x_t - kept.sqrt() * guess) / (1 - kept).sqrt()).float()
        losses.append(float(objective.loss(Says(process.target(guess, TIMES, implied)), x_0, TIMES, eps)))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-3)


def test_each_image_has_the_weight_of_its_own_timestep() -> None:
    objective, (x_0, eps) = _objective(loss_weighting="p2"), _draws(2)
    t = torch.tensor([10, 700])
    one, other = (
        objective.loss(Says(0 * eps[i : i + 1]), x_0[i : i + 1], t[i : i + 1], eps[i : i + 1]) for i in (0, 1)
    )
    both = objective.loss(Says(0 * eps), x_0, t, eps)
    assert float(one / objective.weights[10]) == pytest.approx(float((eps[0] ** 2).mean()), rel=1e-5)
    assert float(both) == pytest.approx(float(one + other) / 2, rel=1e-5)
