"""What a reader must know of a trial before its figures: said in the plan, and below the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trainables.config import Config
from trainables.data import About
from trainables.diffusion.schedules import betas, terminal_signal, timesteps_at
from trainables.sections import Data
from trainables.stages import needed
from trainables.training_rates import learning_rate

SIGNAL_LIMIT = 0.05  # of the image's, where sampling begins


def remarks(config: Config, baseline: Config, facts: About, data: str) -> Iterator[str]:
    """The remarks on a trial, each without a full stop and without a semicolon.

    Args:
        baseline: of the study.
        facts: of its dataset.
        data: what it is called.
    """
    if not facts.class_names:
        yield f"no miou, as the data ({data}) have no masks"
    sampled = "fid" in config.stages and config.sampling.source == "model" and config.training.train_steps
    if sampled and (signal := terminal_signal(config.diffusion)) > SIGNAL_LIMIT:
        yield (
            f"sampling begins from noise alone, but training ends where {signal:.2f} of the image's signal is left: "
            "the network never saw what it begins with"
        )
    if config.sampling.source == "held_out" and config.sampling.samples < baseline.sampling.samples:
        yield (
            f"the distance of {config.sampling.samples} real images, all that are held out, beside "
            f"{baseline.sampling.samples} samples of the others"
        )
    yield from _noise(config, baseline)
    yield from _warmup(config)


def _warmup(config: Config) -> Iterator[str]:
    """That the learning rate is never the one that is set, where that is so."""
    wanted = config.training
    trains = config.pretrained is None and "ddpm" in {stage.NAME for stage in needed(config)}
    if trains and 0 < wanted.train_steps < wanted.warmup_steps:
        yield (
            f"its training ends after {wanted.train_steps:,} of {wanted.warmup_steps:,} warmup_steps, at a learning "
            f"rate of {learning_rate(wanted, wanted.train_steps - 1):.2g} in place of {wanted.learning_rate:g}"
        )


def called(data: Data, root: Path | None) -> str:
    """What the data are called in a message: by the dataset's name, or as the one file that holds them."""
    of_file = data.dataset == "folder" and root is not None and root.is_file()
    return f"file {root.name}" if of_file and root else data.dataset


def splits(facts: About) -> str:
    """How many images of which kind each split of the data has, in words."""
    train, labels, held_out = facts.train_images, facts.label_images, facts.held_out_images
    kind = "grey" if facts.image_channels == 1 else "RGB"
    rest = f"{labels:,} labelled, {held_out:,} held out" if facts.class_names else f"{held_out:,} held out, no masks"
    return f"{train + labels + held_out:,} images ({kind}): {train:,} to train on, {rest}"


def _noise(config: Config, baseline: Config) -> Iterator[str]:
    """By which rule the features' noise is chosen, where it is not the same timesteps of the same schedule for all."""
    wanted = config.segmentation
    if "segmentation" not in config.stages or wanted.features != "unet":
        return
    if wanted.noise_levels:
        levels, timesteps = (", ".join(f"{n:g}" for n in numbers) for numbers in (
            wanted.noise_levels, timesteps_at(config.diffusion, wanted.noise_levels),
        ))  # fmt: skip
        yield f"features at log-SNR {levels}, which are its timesteps {timesteps}"
    elif not np.array_equal(betas(config.diffusion), betas(baseline.diffusion)):
        timesteps = ", ".join(map(str, wanted.timesteps))
        yield (
            f"its features at t = {timesteps} are of other noise than the baseline's, as its schedule is another "
            "(segmentation.noise_levels takes the same noise)"
        )
