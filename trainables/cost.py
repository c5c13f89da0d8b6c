"""What a trial costs, stage by stage, counted from its config. Imports no torch."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from trainables.config import Config
from trainables.data import About
from trainables.unet.cost import unet_cost


def stage_flops(config: Config, about: About) -> dict[str, float]:
    """Floating-point operations of each stage that the trial needs; a backward pass counts as two forwards."""
    unet = unet_cost(config.unet, about.image_channels, config.data.image_size)
    forward, sampling, segmentation = 2.0 * unet.macs, config.sampling, config.segmentation
    flops: dict[str, float] = {}
    on_features = segmentation.features == "unet"
    if ("fid" in config.stages and sampling.source == "model") or ("segmentation" in config.stages and on_features):
        flops["ddpm"] = 3 * forward * config.training.batch_size * config.training.train_steps
    if "fid" in config.stages:
        calls = sampling.sampling_repeats * sampling.samples * sampling.sampling_steps
        flops["samples"] = forward * calls if sampling.source == "model" else 0.0
        flops["fid"] = 0.0
    if "segmentation" in config.stages:
        images = segmentation.label_images + about.held_out_images
        maps = forward * images * len(segmentation.timesteps) if on_features else 0.0
        flops["segmentation"] = maps + _classifier_flops(config, about)
    return flops


def parameters(config: Config, about: About) -> int:
    """The U-Net's parameters."""
    return unet_cost(config.unet, about.image_channels, config.data.image_size).parameters


def _classifier_flops(config: Config, about: About) -> float:
    segmentation, size = config.segmentation, config.data.image_size
    features = about.image_channels
    if segmentation.features == "unet":
        features = len(segmentation.timesteps) * sum(map(config.unet.up_block_channels, segmentation.blocks))
    widths = [features, *segmentation.hidden_channels, len(about.class_names)]
    pixel = 2.0 * segmentation.ensemble_size * sum(map(prod, pairwise(widths)))
    trained = 3 * segmentation.epochs * segmentation.label_images
    return pixel * size**2 * (trained + about.held_out_images)
