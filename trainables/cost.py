"""What a trial costs, stage by stage, counted from its config. Imports no torch."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from trainables.config import Config
from trainables.data import About
from trainables.unet.cost import Cost, guided_cost, unet_cost

INCEPTION_FLOPS = 2 * 5.7e9  # of one image of 299x299; Szegedy et al. 2016 (arXiv:1512.00567), section 6


def stage_flops(config: Config, about: About) -> dict[str, float]:
    """Floating-point operations of each stage that the trial needs; a backward pass counts as two forwards."""
    forward, sampling, segmentation = 2.0 * network_cost(config, about).macs, config.sampling, config.segmentation
    flops: dict[str, float] = {}
    on_features = "segmentation" in config.stages and segmentation.features == "unet"
    from_model = "fid" in config.stages and sampling.source == "model"
    if from_model or (on_features and config.pretrained is None):
        flops["ddpm"] = 3 * forward * config.training.batch_size * config.training.train_steps
    if "fid" in config.stages:
        samples = sampling.sampling_repeats * sampling.samples
        inception = INCEPTION_FLOPS * bool({"fid", "kid"} & set(config.fid.metrics))
        flops["samples"] = forward * samples * sampling.sampling_steps if from_model else 0.0
        flops["reference"] = inception * min(config.fid.reference_images or about.train_images, about.train_images)
        flops["fid"] = inception * samples
    if "segmentation" in config.stages:
        images = segmentation.label_images + segmentation.validation_images + _scored(config, about)
        maps = 2.0 * _features_cost(config, about).macs * images * len(segmentation.timesteps) if on_features else 0.0
        flops["segmentation"] = maps + _classifier_flops(config, about)
    return flops


def network_cost(config: Config, about: About) -> Cost:
    """The cost of the trial's U-Net for one image."""
    if config.pretrained is not None:
        return guided_cost(config.pretrained, about.image_channels, config.data.image_size)
    return unet_cost(config.unet, about.image_channels, config.data.image_size)


def _features_cost(config: Config, about: About) -> Cost:
    """The cost of a forward that stops after the last block whose output is a feature."""
    if config.pretrained is None:
        return network_cost(config, about)
    last = max(config.segmentation.blocks)
    return guided_cost(config.pretrained, about.image_channels, config.data.image_size, last)


def _scored(config: Config, about: About) -> int:
    return min(config.segmentation.held_out_images, about.held_out_images)


def _classifier_flops(config: Config, about: About) -> float:
    segmentation, size = config.segmentation, config.data.image_size
    features = about.image_channels
    if segmentation.features == "unet":
        of = config.unet.up_block_channels if config.pretrained is None else config.pretrained.output_block_channels
        features = len(segmentation.timesteps) * sum(map(of, segmentation.blocks))
    widths = [features, *segmentation.hidden_channels, len(about.class_names)]
    pixel = 2.0 * segmentation.ensemble_size * sum(map(prod, pairwise(widths)))
    trained = segmentation.epochs * (3 * segmentation.label_images + segmentation.validation_images)
    return pixel * size**2 * (trained + _scored(config, about))
