"""The stage `reference`: what the distances need to know of the training images, the same for all trials of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainables.config import Config
from trainables.data import About

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.checkpoints import Checkpoints
    from trainables.progress import Making
    from trainables.stages.stage import Context

NAME, FORMAT, LABEL = "reference", 1, "FID's reference"
INCEPTION_FLOPS = 2 * 5.7e9  # of one image of 299x299; Szegedy et al. 2016 (arXiv:1512.00567), section 6


def needs(config: Config) -> tuple[str, ...]:
    """Nothing comes before it."""
    return ()


def determined_by(config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
    """The images, how many of them, and the metrics whose networks look at them; not the seed."""
    data = [config.data, about.fingerprint]
    return [data, sorted(config.fid.built_in), config.fid.reference_images]


def make(context: Context, checkpoints: Checkpoints) -> Making:
    """Progress by images; returns what writes the moments of their features."""
    from trainables.evaluation.fid import Reference, extracted, extractors
    from trainables.progress import counted

    metrics, chosen = context.config.fid.built_in, images(context)
    networks = extractors(metrics, context.device)
    features = yield from counted(extracted(networks, chosen.to(context.device)), 0, len(chosen))
    return Reference.of(features, metrics).save


def images(context: Context) -> Tensor:
    """The training images that samples are compared with, uint8 (N, C, H, W)."""
    import torch

    from trainables.randomness import generator

    wanted, train = context.config.fid.reference_images, context.data.train
    if not 0 < wanted < len(train):
        return train
    chosen = torch.randperm(len(train), generator=generator(0, "reference"))
    return train[chosen[:wanted]]


def inception_flops(config: Config) -> float:
    """Of one image on the Inception; 0 where no metric needs it. The digits' classifier costs next to nothing."""
    return INCEPTION_FLOPS * bool({"fid", "kid"} & set(config.fid.metrics))


def flops(config: Config, about: About) -> float:
    """Each image once on the metrics' networks."""
    return inception_flops(config) * min(config.fid.reference_images or about.train_images, about.train_images)


def metrics(config: Config) -> tuple[str, ...]:
    """None of its own."""
    return ()
