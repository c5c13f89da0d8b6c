"""The sample sets of one model: their shapes, their random streams and the strip of the first of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces.presets import quick
from trainables.checkpoints import Checkpoints
from trainables.config import Config, apply
from trainables.diffusion.samplers import respaced
from trainables.finite import Diverged
from trainables.progress import Progress
from trainables.sampling import STRIP_FRAMES, STRIP_IMAGES, Drawn, draw
from trainables.store import Store

SHAPE, CPU = torch.Size((1, 4, 4)), torch.device("cpu")


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


def _checkpoints(store: Store, interval_s: float = 1e9) -> Checkpoints:
    return Checkpoints(store, "samples", "key", interval_s)


def _drawn(config: Config, checkpoints: Checkpoints | None = None) -> tuple[Drawn, list[Progress], Model]:
    model, seen = Model(), []
    making = draw(config, model, SHAPE, CPU, checkpoints or _checkpoints(Store("memory://nothing-is-kept-here")))
    while True:
        try:
            seen.append(next(making))
        except StopIteration as done:
            return done.value, seen, model


def _samples(**settings: Any) -> NDArray[np.uint8]:
    config = _config(**settings)
    return _drawn(config)[0].samples(config.sampling.sampling_repeats)


def test_shapes_batches_and_progress() -> None:
    drawn, seen, model = _drawn(_config())
    samples = drawn.samples(2)
    assert (samples.shape, samples.dtype) == ((2, 9, 1, 4, 4), np.uint8)
    assert [len(x_t) for x_t in model.shown] == ([4] * 5 + [4] * 5 + [1] * 5) * 2
    assert [(p.step, p.steps) for p in seen] == [(i, 30) for i in range(31)]


def test_repeats_and_images_differ() -> None:
    samples = _samples(samples=6, sampler="ddim")
    assert len({image.tobytes() for image in samples.reshape(12, -1)}) == 12


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_samples_depend_on_the_seed_alone(sampler: str) -> None:
    first = _samples(sampler=sampler)
    torch.manual_seed(99)
    assert np.array_equal(_samples(sampler=sampler), first)
    other = _drawn(apply(_config(sampler=sampler), {"seed": 1}))[0].samples(2)
    assert not np.array_equal(other, first)


def test_another_repeat_leaves_the_first_ones_as_they_were() -> None:
    two, three = (_samples(sampling_repeats=n) for n in (2, 3))
    assert np.array_equal(two, three[:2])


def test_more_images_leave_the_first_batches_as_they_were() -> None:
    eight, twelve = (_samples(samples=n) for n in (8, 12))
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
    assert np.stack(drawn.frames).shape == (len(drawn.timesteps), STRIP_IMAGES, *SHAPE)
    assert np.array_equal(drawn.frames[-1], drawn.samples(2)[0, :STRIP_IMAGES])
    assert not np.array_equal(drawn.frames[0], drawn.frames[-1])


@pytest.mark.parametrize("stopped_after", [3, 7, 16, 29])
def test_what_another_run_has_drawn_is_not_drawn_again(stopped_after: int, tmp_path: Path) -> None:
    whole, first, second = _drawn(_config())[0], _checkpoints(Store(tmp_path), 0), _checkpoints(Store(tmp_path))
    making = draw(_config(), Model(), SHAPE, CPU, first)
    while next(making).step < stopped_after:
        pass
    making.close()
    first.wait()
    drawn, seen, model = _drawn(_config(), second)
    done = stopped_after - 1  # the last step was told, and not yet saved
    assert len(model.shown) == 30 - done
    assert [p.step for p in seen] == list(range(done, 31))
    assert np.array_equal(drawn.samples(2), whole.samples(2))
    assert drawn.timesteps == whole.timesteps
    assert np.array_equal(np.stack(drawn.frames), np.stack(whole.frames))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("stopped_after", [None, 8])
def test_an_output_that_is_not_finite_gives_no_image(bad: float, stopped_after: int | None, tmp_path: Path) -> None:
    # At one step of the second batch: the clip of x_0 makes an image of it all the same.
    class Broken(Model):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            eps = super().forward(x_t, t)
            return torch.full_like(eps, bad) if len(self.shown) == 7 else eps

    checkpoints = _checkpoints(Store(tmp_path), 0)
    making = draw(_config(), Broken(), SHAPE, CPU, checkpoints)
    if stopped_after:
        while next(making).step < stopped_after:
            pass
        making.close()
        checkpoints.wait()
        making = draw(_config(), Model(), SHAPE, CPU, _checkpoints(Store(tmp_path)))
    with pytest.raises(Diverged, match="not finite while sampling"):
        list(making)
