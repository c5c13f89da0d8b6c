"""The sample sets of one model: their shapes, their random streams and the strip of the first of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.presets import quick
from trainables.config import Config, apply
from trainables.diffusion.samplers import respaced
from trainables.progress import Progress
from trainables.sampling import STRIP_FRAMES, STRIP_IMAGES, Drawn, draw

SHAPE = torch.Size((1, 4, 4))


class Model(nn.Module):
    """A cheap network that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.9), requires_grad=False)
        self.shown: list[Tensor] = []

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.shown.append(x_t)
        return self.scale * x_t


def _config(**settings: Any) -> Config:
    small = {"samples": 9, "batch_size": 4, "sampling_repeats": 2, "sampling_steps": 5, "sampler": "ddpm"}
    return apply(quick(), {f"sampling.{name}": value for name, value in (small | settings).items()})


def _drawn(config: Config) -> tuple[Drawn, list[Progress], Model]:
    model, seen = Model(), []
    making = draw(config, model, SHAPE)
    while True:
        try:
            seen.append(next(making))
        except StopIteration as done:
            return done.value, seen, model


def test_shapes_batches_and_progress() -> None:
    drawn, seen, model = _drawn(_config())
    assert (drawn.samples.shape, drawn.samples.dtype) == ((2, 9, 1, 4, 4), np.uint8)
    assert [len(x_t) for x_t in model.shown] == ([4] * 5 + [4] * 5 + [1] * 5) * 2
    assert [(p.step, p.steps) for p in seen] == [(i, 30) for i in range(1, 31)]


def test_repeats_and_images_differ() -> None:
    samples = _drawn(_config(samples=6, sampler="ddim"))[0].samples
    assert len({image.tobytes() for image in samples.reshape(12, -1)}) == 12


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_samples_depend_on_the_seed_alone(sampler: str) -> None:
    config = _config(sampler=sampler)
    first = _drawn(config)[0].samples
    torch.manual_seed(99)
    assert np.array_equal(_drawn(config)[0].samples, first)
    assert not np.array_equal(_drawn(apply(config, {"seed": 1}))[0].samples, first)


def test_another_repeat_leaves_the_first_ones_as_they_were() -> None:
    two, three = (_drawn(_config(sampling_repeats=n))[0].samples for n in (2, 3))
    assert np.array_equal(two, three[:2])


def test_more_images_leave_the_first_batches_as_they_were() -> None:
    eight, twelve = (_drawn(_config(samples=n))[0].samples for n in (8, 12))
    assert np.array_equal(eight, twelve[:, :8])


def test_every_sampler_starts_from_the_same_noise() -> None:
    starts = []
    for sampler, steps in (("ddim", 5), ("ddpm", 5), ("ddpm", 2)):
        model = _drawn(_config(sampler=sampler, sampling_steps=steps))[2]
        starts.append(model.shown[::steps])
    assert [len(noise) for noise in starts[0]] == [4, 4, 1] * 2
    for other in starts[1:]:
        assert all(torch.equal(a, b) for a, b in zip(starts[0], other, strict=True))


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 40])
def test_strip_goes_from_the_noise_to_the_first_samples(steps: int) -> None:
    drawn, _, _ = _drawn(_config(samples=8, batch_size=8, sampling_steps=steps))
    path = [*respaced(1000, steps), -1]
    assert len(drawn.timesteps) == min(STRIP_FRAMES, len(path))
    assert (drawn.timesteps[0], drawn.timesteps[-1]) == (999, -1)
    assert drawn.timesteps == sorted(set(drawn.timesteps) & set(path), reverse=True)
    assert drawn.frames.shape == (len(drawn.timesteps), STRIP_IMAGES, *SHAPE)
    assert np.array_equal(drawn.frames[-1], drawn.samples[0, :STRIP_IMAGES])
    assert not np.array_equal(drawn.frames[0], drawn.frames[-1])
