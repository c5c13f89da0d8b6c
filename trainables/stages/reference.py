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
DINOV2_FLOPS = 1.62e11  # of one image of 224x224, as torch counts them


def needs(config: Config) -> tuple[str, ...]:
    """Nothing comes before it."""
    return ()


def determined_by(config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
    """The images, how many of them, the metrics whose networks look at them and their neighbours; not the seed."""
    data, neighbours = [config.data, about.fingerprint], [config.fid.nearest_k] if config.fid.prdc else []
    return [data, sorted(config.fid.built_in), config.fid.reference_images, *neighbours]


def make(context: Context, checkpoints: Checkpoints) -> Making:
    """Progress by images; returns what writes what the metrics keep of their features."""
    from trainables.evaluation.fid import Reference, extracted, extractors
    from trainables.evaluation.measures import How
    from trainables.progress import counted

    metrics, chosen = context.config.fid.built_in, images(context)
    networks = extractors(metrics, context.device)
    features = yield from counted(extracted(networks, chosen.to(context.device)), 0, len(chosen))
    how = How(context.config.seed, context.config.fid.nearest_k, context.device)
    return Reference.of(features, metrics, how).save


def images(context: Context) -> Tensor:
    """The training images that samples are compared with, uint8 (N, C, H, W)."""
    import torch

    from trainables.randomness import generator

    wanted, train = context.config.fid.reference_images, context.data.train
    if not 0 < wanted < len(train):
        return train
    chosen = torch.randperm(len(train), generator=generator(0, "reference"))
    return train[chosen[:wanted]]


def network_flops(config: Config) -> float:
    """Of one image on the networks that the metrics need; the digits' classifier costs next to nothing."""
    costs = {"inception": INCEPTION_FLOPS, "dinov2": DINOV2_FLOPS}
    return sum(costs.get(network, 0.0) for network in config.fid.networks)


def flops(config: Config, about: About) -> float:
    """Each image once on the metrics' networks."""
    return network_flops(config) * min(config.fid.reference_images or about.train_images, about.train_images)


def metrics(config: Config) -> tuple[str, ...]:
    """None of its own."""
    return ()
