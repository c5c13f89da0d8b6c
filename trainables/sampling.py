"""The sample sets of one trained model, and the strip that shows how one of them came out of the noise."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.config import Config
from trainables.diffusion.process import Process
from trainables.diffusion.samplers import denoise, respaced
from trainables.images import to_uint8
from trainables.progress import Progress
from trainables.randomness import generator
from trainables.unet.unet import UNet

STRIP_IMAGES, STRIP_FRAMES = 6, 11


@dataclass
class Drawn:
    """Sample sets, uint8 (repeats, samples, C, H, W), and frames, uint8 (S, N, C, H, W), with their timesteps."""

    samples: NDArray[np.uint8]
    frames: NDArray[np.uint8]
    timesteps: list[int]


@dataclass
class _Strip:
    """Keeps the first images of a few steps, the noise first and the clean images last."""

    kept: set[int]
    frames: list[NDArray[np.uint8]] = field(default_factory=list)
    timesteps: list[int] = field(default_factory=list)

    def see(self, t: int, x_t: Tensor) -> None:
        if t in self.kept:
            self.timesteps.append(t)
            self.frames.append(to_uint8(x_t[:STRIP_IMAGES]).cpu().numpy())


def draw(config: Config, model: UNet, image_shape: torch.Size) -> Generator[Progress, None, Drawn]:
    """Progress, counted in calls of the network; returns the sample sets, each batch from its own random stream.

    Args:
        model: predicts eps; the sets are drawn on its device.
        image_shape: (C, H, W).
    """
    sampling, device = config.sampling, next(model.parameters()).device
    process = Process(config.diffusion).to(device)
    batches = list(_batch_sizes(sampling.samples, sampling.batch_size))
    calls, total = 0, sampling.sampling_repeats * len(batches) * sampling.sampling_steps
    strip = _Strip(_strip_timesteps(config))
    sets = []
    for repeat in range(sampling.sampling_repeats):
        parts: list[NDArray[np.uint8]] = []
        for batch, size in enumerate(batches):
            rng = generator(config.seed, "sampling", repeat, batch, device=device)
            x_T = torch.randn((size, *image_shape), generator=rng, device=device)
            x_T = x_t = x_T.contiguous(memory_format=torch.channels_last)
            first = not repeat and not parts
            if first:
                strip.see(process.timesteps - 1, x_T)
            for t, x_t in denoise(model, process, x_T, sampling, rng):
                calls += 1
                if first:
                    strip.see(t, x_t)
                yield Progress(calls, total)
            parts.append(to_uint8(x_t).cpu().numpy())
        sets.append(np.concatenate(parts))
    return Drawn(np.stack(sets), np.stack(strip.frames), strip.timesteps)


def _strip_timesteps(config: Config) -> set[int]:
    visited = [*respaced(config.diffusion.timesteps, config.sampling.sampling_steps), -1]
    last = len(visited) - 1
    return {visited[round(i * last / (STRIP_FRAMES - 1))] for i in range(STRIP_FRAMES)}


def _batch_sizes(total: int, batch_size: int) -> Iterator[int]:
    for start in range(0, total, batch_size):
        yield min(batch_size, total - start)
