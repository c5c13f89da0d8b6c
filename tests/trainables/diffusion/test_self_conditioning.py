"""What a self-conditioned network is shown: in training, while sampling and for its features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.diffusion.objective import Objective
from trainables.diffusion.predictions import PREDICTIONS
from trainables.diffusion.process import Process
from trainables.diffusion.samplers import denoise
from trainables.diffusion.self_conditioning import SelfConditioned
from trainables.sections import Diffusion, Sampling, Training


class Watching(nn.Module):
    """A network of one convolution over x_t and the estimate, which keeps what it is shown."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, outputs, 3, padding=1)
        self.shown: list[Tensor] = []
        self.put_out: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.shown.append(x)
        self.put_out.append(self.convolution(x))
        return self.put_out[-1]

    def features(self, x: Tensor, t: Tensor, blocks: tuple[int, ...]) -> dict[int, Tensor]:
        return {block: self.convolution(x) for block in blocks}


def _draws(count: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 4, 4, generator=g) * 2 - 1, torch.randn(count, 1, 4, 4, generator=g)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("learned_variance", [False, True])
def test_each_step_is_shown_the_estimate_of_the_step_before(
    sampler: str, prediction: str, learned_variance: bool
) -> None:
    torch.manual_seed(0)
    process = Process(Diffusion(prediction=prediction, learned_variance=learned_variance))
    network, (_, x_T) = Watching(1 + learned_variance), _draws(3)
    shown = SelfConditioned(network, process, on=True)
    path = [x_T, *(x for _, x in denoise(shown, process, x_T, Sampling(sampler=sampler, sampling_steps=4),
                                         torch.Generator().manual_seed(1)))]  # fmt: skip
    assert all(torch.equal(x[:, :1], x_t) for x, x_t in zip(network.shown, path[:-1], strict=True))
    assert not network.shown[0][:, 1:].any()
    for i, t in enumerate([999, 666, 333]):
        estimate = process.predict_x_0(path[i], torch.full((3,), t), network.put_out[i])
        assert torch.equal(network.shown[i + 1][:, 1:], estimate)
        assert estimate.abs().max() <= 1
        assert estimate.any()


def test_a_network_that_is_not_self_conditioned_is_called_as_it_stands() -> None:
    class Plain(nn.Module):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return 2 * x_t

        def features(self, x_t: Tensor, t: Tensor, blocks: tuple[int, ...]) -> dict[int, Tensor]:
            return dict.fromkeys(blocks, x_t)

    shown, (x_t, _) = SelfConditioned(Plain(), Process(Diffusion()), on=False), _draws(2)
    assert torch.equal(shown(x_t, torch.zeros(2).long()), 2 * x_t)
    assert shown.features(x_t, torch.zeros(2).long(), (5,))[5] is x_t
    assert shown.estimate is None


def test_features_are_those_without_an_estimate() -> None:
    network, (x_t, _), t = Watching(), _draws(2), torch.tensor([5, 7])
    shown = SelfConditioned(network, Process(Diffusion()), on=True)
    shown(x_t, t)
    assert shown.estimate is not None
    found = shown.features(x_t, t, (5, 6))
    expected = network.convolution(torch.cat([x_t, torch.zeros_like(x_t)], dim=1))
    assert all(torch.equal(found[block], expected) for block in (5, 6))


@pytest.mark.parametrize("estimated", [False, True])
def test_in_training_it_is_shown_zeros_or_its_own_estimate(estimated: bool) -> None:
    process = Process(Diffusion())
    objective, network, (x_0, eps) = Objective(process, Training(self_conditioning=True)), Watching(), _draws(3)
    t = torch.tensor([5, 300, 999])
    loss = objective.loss(network, x_0, t, eps, estimated)
    assert len(network.shown) == 1 + estimated
    assert not network.shown[0][:, 1:].any()
    if estimated:
        assert torch.equal(network.shown[1][:, 1:], process.predict_x_0(network.shown[1][:, :1], t, network.put_out[0]))
        assert not network.put_out[0].requires_grad  # no gradient goes through the estimate
    assert torch.equal(loss, nn.functional.mse_loss(network.put_out[-1], eps))


def test_in_bf16_the_estimates_pass_takes_no_gradient_away() -> None:
    # Autocast keeps the weights that it has cast: those of the pass without a gradient must not serve the second one.
    objective, network, (x_0, eps) = (
        Objective(Process(Diffusion()), Training(self_conditioning=True)),
        Watching(),
        _draws(3),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective.loss(network, x_0, torch.tensor([5, 300, 999]), eps, estimated=True)
    loss.backward()
    assert network.convolution.weight.grad is not None
    assert network.convolution.weight.grad.any()
