"""The stage `segmentation`: the pixel classifier on the network's features, or on plain pixels, and its mIoU."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from trainables.config import Config
from trainables.data import About
from trainables.network_cost import network_cost
from trainables.stages import ddpm

if TYPE_CHECKING:
    from trainables.checkpoints import Checkpoints
    from trainables.evaluation.features import Features
    from trainables.progress import Making
    from trainables.stages.stage import Context
    from trainables.unet.guided_diffusion import GuidedUNet

NAME, FORMAT, LABEL = "segmentation", 3, "segmentation"


def needs(config: Config) -> tuple[str, ...]:
    """The trained network, unless it comes from elsewhere or pixels stand for its features."""
    return (ddpm.NAME,) if config.segmentation.features == "unet" and config.pretrained is None else ()


def determined_by(config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
    """The seed, the images, what the features come from, and the classifier's settings."""
    network: object = keys.get(ddpm.NAME, "")
    if config.segmentation.features == "unet" and config.pretrained is not None:
        network = [config.pretrained, config.diffusion]
    return [config.seed, [config.data, about.fingerprint], network, config.segmentation]


def make(context: Context, checkpoints: Checkpoints) -> Making:
    """Progress of the classifier's training, then by scored images; returns what writes scores and masks."""
    from trainables.evaluation.segmentation import Segmenter

    config = context.config
    segmenter = Segmenter(_features(context), context.data, config.segmentation, config.seed, context.device)
    return (yield from segmenter.run(checkpoints))


def _features(context: Context) -> Features:
    from trainables.diffusion.process import Process
    from trainables.diffusion.schedules import timesteps_at
    from trainables.diffusion.self_conditioning import SelfConditioned
    from trainables.evaluation.features import DecoderOutputs, InColour, PixelValues

    config = context.config
    if config.segmentation.features == "pixels":
        return PixelValues()
    network = ddpm.load(context) if config.pretrained is None else _pretrained(context)
    process, wanted, timesteps = Process(config.diffusion), config.segmentation, config.segmentation.timesteps
    if wanted.noise_levels:
        timesteps = timesteps_at(config.diffusion, wanted.noise_levels)
    process = process.to(context.device)
    conditioned = SelfConditioned(network, process, config.pretrained is None and config.training.self_conditioning)
    draws = 0 if wanted.noise == "zero" else wanted.noise_draws
    outputs = DecoderOutputs(conditioned, process, timesteps, wanted.blocks, config.seed, context.parts, draws)
    return outputs if config.pretrained is None else InColour(outputs, config.pretrained.image_channels)


def _pretrained(context: Context) -> GuidedUNet:
    from trainables.unet import guided_checkpoint, guided_diffusion

    settings, size = context.config.pretrained, context.config.data.image_size
    assert settings is not None
    channels, device = settings.image_channels, context.device
    if settings.weights == "random":
        return guided_diffusion.random_unet(settings, channels, size, context.config.seed, device)
    if context.inputs.checkpoint is None:
        raise ValueError("pretrained.weights: the file of these weights must be given")
    return guided_checkpoint.load_checkpoint(context.inputs.checkpoint, settings, channels, size, device)


def flops(config: Config, about: About) -> float:
    """The features of every image, the members' training, and their prediction of every scored pixel."""
    segmentation, features = config.segmentation, about.image_channels
    scored = min(segmentation.held_out_images, about.held_out_images)
    maps = 0.0
    if segmentation.features == "unet":
        cost, timesteps = network_cost(config, about), len(segmentation.noise_levels or segmentation.timesteps)
        images = segmentation.label_images + segmentation.validation_images + scored
        draws = 1 if segmentation.noise == "zero" else segmentation.noise_draws
        maps, features = cost.features_flops * images * timesteps * draws, cost.feature_channels * timesteps
    widths = [features, *segmentation.hidden_channels, len(about.class_names)]
    pixel = 2.0 * segmentation.ensemble_size * sum(map(prod, pairwise(widths)))
    trained = segmentation.epochs * (3 * segmentation.label_images + segmentation.validation_images)
    return maps + pixel * config.data.image_size**2 * (trained + scored)


def metrics(config: Config) -> tuple[str, ...]:
    """The mIoU on held-out images."""
    return ("miou",)
