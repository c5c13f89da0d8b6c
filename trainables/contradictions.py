"""Settings that contradict each other, as far as the configuration alone can tell. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.config import Config

FEWEST_IMAGES = 2  # that have a covariance
FEWEST_SAMPLES = 2 * FEWEST_IMAGES  # a Frechet distance is measured at half of them too


def contradictions(config: Config) -> Iterator[str]:
    """What is wrong with settings that are right one by one: each names the setting and what is allowed."""
    yield from _unet_contradictions(config) if config.pretrained is None else _pretrained_contradictions(config)
    last = config.diffusion.timesteps - 1
    for t in config.segmentation.timesteps:
        if t > last and not config.segmentation.noise_levels:
            yield f"segmentation.timesteps must be at most {last} (diffusion.timesteps - 1), but got {t}"
    for name in _WITHOUT_REPETITION:
        values = attrgetter(name)(config)
        if len(set(values)) < len(values):
            yield f"{name} must not repeat a value, but got {list(values)}"
    if "fid" in config.stages:
        yield from _fid_contradictions(config)
    if "segmentation" in config.stages:
        yield from _classifier_contradictions(config)
    if config.sampling.sampling_steps > config.diffusion.timesteps:
        yield (
            f"sampling.sampling_steps must be at most diffusion.timesteps={config.diffusion.timesteps}, "
            f"but got {config.sampling.sampling_steps}"
        )


def _fid_contradictions(config: Config) -> Iterator[str]:
    if config.fid.reference_images == 1:
        yield f"fid.reference_images must be 0, for all, or at least {FEWEST_IMAGES}, but got 1"
    fewest = FEWEST_IMAGES if config.fid.metrics == ("kid",) else FEWEST_SAMPLES
    if config.sampling.samples < fewest:
        yield f"sampling.samples must be at least {fewest} for these fid.metrics, but got {config.sampling.samples}"


def _classifier_contradictions(config: Config) -> Iterator[str]:
    """Void pixels aside, which the masks alone can tell."""
    segmentation, pixels = config.segmentation, config.data.image_size**2
    by_image = segmentation.pixel_order == "by_image"
    most = pixels if by_image else pixels * segmentation.label_images
    if segmentation.batch_size > most:
        of = "an image" if by_image else "the label_images"
        yield f"segmentation.batch_size must be at most the {most} pixels of {of}, but got {segmentation.batch_size}"


_WITHOUT_REPETITION = (
    "stages",
    "unet.attention_resolutions",
    "fid.metrics",
    "segmentation.blocks",
    "segmentation.timesteps",
    "segmentation.noise_levels",
    "segmentation.miou_rules",
)


def _unet_contradictions(config: Config) -> Iterator[str]:
    unet, size = config.unet, config.data.image_size
    coarsest = 2 ** (unet.levels - 1)
    if size % coarsest:
        yield f"data.image_size must be a multiple of {coarsest}, for {unet.levels} unet.channel_mults, but got {size}"
    widths = [unet.base_channels, *unet.level_channels]
    for channels in widths:
        if channels % unet.norm_groups:
            yield f"unet.norm_groups must divide each of {widths}, but got {unet.norm_groups}"
    resolutions = [size // 2**level for level in range(unet.levels)]
    for resolution in unet.attention_resolutions:
        if resolution not in resolutions:
            yield f"unet.attention_resolutions must be among {resolutions}, but got {resolution}"
        elif unet.level_channels[resolutions.index(resolution)] % unet.attention_heads:
            channels = unet.level_channels[resolutions.index(resolution)]
            heads = unet.attention_heads
            yield f"unet.attention_heads must divide {channels}, the channels at {resolution}, but got {heads}"
    for block in config.segmentation.blocks:
        if block not in unet.up_blocks:
            yield f"segmentation.blocks must be among the up blocks {list(unet.up_blocks)}, but got {block}"


def _pretrained_contradictions(config: Config) -> Iterator[str]:
    assert config.pretrained is not None
    if config.stages != ("segmentation",):
        yield f"stages must be [segmentation] with a pretrained network, but got {list(config.stages)}"
    coarsest = 2 ** (len(config.pretrained.channel_mult) - 1)
    if config.data.image_size % coarsest:
        yield f"data.image_size must be a multiple of {coarsest}, but got {config.data.image_size}"
    yield from _head_contradictions(config.pretrained)
    resolutions = [config.data.image_size // 2**level for level in range(len(config.pretrained.channel_mult))]
    for resolution in config.pretrained.attention_resolutions:
        if resolution not in resolutions:
            yield f"pretrained.attention_resolutions must be among {resolutions}, but got {resolution}"
    for block in config.segmentation.blocks:
        if not 0 <= block < config.pretrained.output_blocks:
            last = config.pretrained.output_blocks - 1
            yield f"segmentation.blocks must be among the output blocks 0 to {last}, but got {block}"


def _head_contradictions(pretrained: Pretrained) -> Iterator[str]:
    channels, width = pretrained.num_channels, pretrained.num_head_channels
    heads = {n: h for n in ("num_heads", "num_heads_upsample") if (h := getattr(pretrained, n)) is not None}
    if width == 0 or channels % width:
        yield f"pretrained.num_head_channels must divide {channels}, pretrained.num_channels, or be -1, but got {width}"
    if width == -1 and pretrained.num_heads is None:
        yield "pretrained.num_heads must be given where num_head_channels is -1"
    for name, value in heads.items():
        if width != -1:
            yield f"pretrained.{name} counts only with num_head_channels=-1, but got {value} beside {width}"
        if channels % value:
            yield f"pretrained.{name} must divide {channels}, pretrained.num_channels, but got {value}"
