"""What is wrong with settings that are right one by one: each line names a setting and what is allowed.

Each function takes the sections whose settings can contradict each other. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainables.sections import Data, Diffusion, Fid, Pretrained, Sampling, Segmentation, Training, UNet


def of_the_unet(unet: UNet, data: Data, segmentation: Segmentation) -> Iterator[str]:
    """What our U-Net cannot be, and what cannot be asked of it."""
    size, coarsest = data.image_size, 2 ** (unet.levels - 1)
    if size % coarsest:
        yield f"data.image_size must be a multiple of {coarsest}, for {unet.levels} unet.channel_mults, but got {size}"
    if unet.channels and len(unet.channels) != unet.levels:
        yield f"unet.channels must be {unet.levels}, one a level of channel_mults, but got {list(unet.channels)}"
        return
    widths = [unet.base_channels, *unet.level_channels]
    for channels in widths:
        if channels % unet.norm_groups:
            yield f"unet.norm_groups must divide each of {widths}, but got {unet.norm_groups}"
    resolutions, heads = [size // 2**level for level in range(unet.levels)], unet.attention_heads
    for resolution in unet.attention_resolutions:
        if resolution not in resolutions:
            yield f"unet.attention_resolutions must be among {resolutions}, but got {resolution}"
            continue
        channels = unet.level_channels[resolutions.index(resolution)]
        if channels % heads:
            yield f"unet.attention_heads must divide {channels}, the channels at {resolution}, but got {heads}"
        if unet.qk_norm and channels == heads:
            yield f"unet.attention_heads must leave a head two channels or more with qk_norm, but got {heads}"
    for block in segmentation.blocks:
        if not isinstance(block, str) and block not in unet.up_blocks:
            yield (
                f"segmentation.blocks must be among the up blocks {list(unet.up_blocks)}, or names of modules, "
                f"but got {block}"
            )


def of_own_network(network: str, segmentation: Segmentation) -> Iterator[str]:
    """What cannot be asked of a network of a person's own whose features are read."""
    if any(not isinstance(block, str) for block in segmentation.blocks):
        yield (
            f"segmentation.blocks must be names of modules of {network}, such as [up_blocks.*], "
            f"but got {list(segmentation.blocks)}"
        )


def of_the_pretrained(pretrained: Pretrained, data: Data, segmentation: Segmentation) -> Iterator[str]:
    """What a pretrained network cannot be, and what cannot be asked of it."""
    coarsest = 2 ** (len(pretrained.channel_mult) - 1)
    if data.image_size % coarsest:
        yield f"data.image_size must be a multiple of {coarsest}, but got {data.image_size}"
    yield from _of_the_heads(pretrained)
    resolutions = [data.image_size // 2**level for level in range(len(pretrained.channel_mult))]
    for resolution in pretrained.attention_resolutions:
        if resolution not in resolutions:
            yield f"pretrained.attention_resolutions must be among {resolutions}, but got {resolution}"
    for block in segmentation.blocks:
        if not isinstance(block, str) and not 0 <= block < pretrained.output_blocks:
            last = pretrained.output_blocks - 1
            yield f"segmentation.blocks must be among the output blocks 0 to {last}, but got {block}"


def _of_the_heads(pretrained: Pretrained) -> Iterator[str]:
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


def of_zero_terminal_snr(diffusion: Diffusion, training: Training) -> Iterator[str]:
    """What cannot be trained where the last timestep is noise alone."""
    if diffusion.prediction == "eps":
        yield (
            "diffusion.prediction must be v or x_0 with zero_terminal_snr, as eps tells nothing of an image of which "
            "nothing is left, but got eps"
        )
    if training.loss_weighting != "uniform":
        yield (
            "training.loss_weighting must be uniform with diffusion.zero_terminal_snr, as the others weigh the last "
            f"timestep with 0, but got {training.loss_weighting}"
        )


def of_the_timesteps(diffusion: Diffusion, segmentation: Segmentation) -> Iterator[str]:
    """What features cannot be read at."""
    last = diffusion.timesteps - 1
    for t in segmentation.timesteps:
        if t > last and not segmentation.noise_levels:
            yield f"segmentation.timesteps must be at most {last} (diffusion.timesteps - 1), but got {t}"


def of_the_fid(fid: Fid, sampling: Sampling) -> Iterator[str]:
    """What cannot be measured of samples."""
    real, fewest = fid.fewest_real, fid.fewest_samples
    if 0 < fid.reference_images < real:
        yield f"fid.reference_images must be 0, for all, or at least {real}, but got {fid.reference_images}"
    if names := fid.ambiguous:
        yield f"fid.metrics: the functions' names must differ from each other and from ours, but got {names}"
    if sampling.samples < fewest:
        yield f"sampling.samples must be at least {fewest} for these fid.metrics, but got {sampling.samples}"


def of_a_learned_variance(sampling: Sampling) -> Iterator[str]:
    """What cannot sample by it."""
    if sampling.source == "model" and sampling.sampler != "ddpm":
        yield (
            "sampling.sampler must be ddpm with diffusion.learned_variance, which no other draws by, "
            f"but got {sampling.sampler}"
        )


def of_the_classifier(segmentation: Segmentation, data: Data) -> Iterator[str]:
    """What no batch of pixels can be; void pixels aside, which the masks alone can tell."""
    pixels = data.image_size**2
    by_image = segmentation.pixel_order == "by_image"
    most = pixels if by_image else pixels * segmentation.label_images
    if segmentation.batch_size > most:
        of = "an image" if by_image else "the label_images"
        yield f"segmentation.batch_size must be at most the {most} pixels of {of}, but got {segmentation.batch_size}"


def of_the_steps(sampling: Sampling, diffusion: Diffusion) -> Iterator[str]:
    """What sampling cannot take."""
    if sampling.sampling_steps > diffusion.timesteps:
        yield (
            f"sampling.sampling_steps must be at most diffusion.timesteps={diffusion.timesteps}, "
            f"but got {sampling.sampling_steps}"
        )
