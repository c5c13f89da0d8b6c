"""The stage `samples`: the sample sets that FID is measured on, drawn from the model or taken from held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.config import Config
from trainables.data import About
from trainables.network_cost import network_cost
from trainables.stages import ddpm

if TYPE_CHECKING:
    from trainables.checkpoints import Checkpoints
    from trainables.progress import Making, Write
    from trainables.stages.stage import Context

NAME, FORMAT, LABEL = "samples", 1, "sampling"
SAMPLES, DENOISING = "samples.npy", "denoising.npz"


def needs(config: Config) -> tuple[str, ...]:
    """The trained network, unless real images are taken for samples."""
    return (ddpm.NAME,) if config.sampling.source == "model" else ()


def determined_by(config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
    """The network, or the seed that real images are chosen by, and how many are drawn in which way."""
    return [[config.data, about.fingerprint], keys.get(ddpm.NAME, config.seed), config.sampling]


def make(context: Context, checkpoints: Checkpoints) -> Making:
    """Progress of the sampling; returns what writes the sample sets and the strip of one denoising."""
    import numpy as np

    from trainables.sampling import InParts, draw

    if context.config.sampling.source == "held_out":
        return _held_out(context)
    model = InParts(ddpm.load(context), context.parts)
    drawn = yield from draw(context.config, model, context.data.train.shape[1:], context.device, checkpoints)

    def write(folder: Path) -> None:
        np.save(folder / SAMPLES, drawn.samples(context.config.sampling.sampling_repeats))
        frames, timesteps = np.stack(drawn.frames), np.array(drawn.timesteps)
        np.savez(folder / DENOISING, frames=frames, timesteps=timesteps)

    return write


def _held_out(context: Context) -> Write:
    """Real images, as many as a model draws: what the metric says of a perfect model at this sample count."""
    import numpy as np
    import torch

    from trainables.randomness import generator

    config, held_out = context.config, context.data.held_out
    chosen = torch.randperm(len(held_out), generator=generator(config.seed, "held out"))
    real = held_out[chosen[: config.sampling.samples]][None].numpy()
    return lambda folder: np.save(folder / SAMPLES, real)


def flops(config: Config, about: About) -> float:
    """A forward of each image at each step of the sampler; real images cost nothing."""
    if config.sampling.source == "held_out":
        return 0.0
    images = config.sampling.sampling_repeats * config.sampling.samples
    return network_cost(config, about).forward_flops * images * config.sampling.sampling_steps


def metrics(config: Config) -> tuple[str, ...]:
    """None of its own."""
    return ()
