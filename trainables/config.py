"""One trial's config: its sections, what of them contradicts each other, and how it is changed. Imports no torch.

A config is frozen. A variant, `--set` and a YAML file change it by one language, dotted overrides:
`apply(config, {"unet.block": "convnext"})`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from trainables.own_parts import Args, Named, is_reference
from trainables.sections import Data, Diffusion, Fid, Pretrained, Sampling, Section, Segmentation, Training, UNet

Overrides = Mapping[str, Any]


class ConfigError(ValueError):
    """A setting that cannot be; its text is one line that names the setting and what is allowed."""


class Config(Section):
    """The whole of one trial. Every cross-section rule that the configuration alone can tell is checked here."""

    seed: int = Field(default=0, ge=0)
    stages: tuple[Literal["fid", "segmentation"], ...] = Field(default=("fid", "segmentation"), min_length=1)
    data: Data = Data()
    network: Annotated[str, Named(("unet",))] = "unet"  # that is trained
    network_args: Args = Args()  # of a network of one's own
    unet: UNet = UNet()
    pretrained: Pretrained | None = None  # in place of `unet`, which is then not looked at
    diffusion: Diffusion = Diffusion()
    training: Training = Training()
    sampling: Sampling = Sampling()
    fid: Fid = Fid()
    segmentation: Segmentation = Segmentation()

    @property
    def input_images(self) -> int:
        """Images that the U-Net takes along its channels: x_t, and with self-conditioning the last estimate of x_0."""
        return 1 + self.training.self_conditioning

    @property
    def output_images(self) -> int:
        """Images that it puts out: its prediction, and with a learned variance what says it."""
        return 1 + self.diffusion.learned_variance

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self


def _contradictions(config: Config) -> Iterator[str]:
    """What is wrong with settings that are right one by one: each names the setting and what is allowed."""
    yield from _part_contradictions(config)
    if config.pretrained is not None:
        yield from _pretrained_contradictions(config)
    elif config.network == "unet":
        yield from _unet_contradictions(config)
    else:
        yield from _network_contradictions(config)
    if config.pretrained is None and config.diffusion.zero_terminal_snr:
        yield from _zero_snr_contradictions(config)
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
        if config.pretrained is None and config.diffusion.learned_variance:
            yield from _variance_contradictions(config)
    if "segmentation" in config.stages:
        yield from _classifier_contradictions(config)
    if config.sampling.sampling_steps > config.diffusion.timesteps:
        yield (
            f"sampling.sampling_steps must be at most diffusion.timesteps={config.diffusion.timesteps}, "
            f"but got {config.sampling.sampling_steps}"
        )


def _part_contradictions(config: Config) -> Iterator[str]:
    for name in PARTS_WITH_ARGS:
        part, args = attrgetter(name)(config), attrgetter(f"{name}_args")(config)
        if args and not is_reference(part):
            yield f"{name}_args count only with a part of your own, but {name} is {part} and they are {dict(args)}"


def _zero_snr_contradictions(config: Config) -> Iterator[str]:
    if config.diffusion.prediction == "eps":
        yield (
            "diffusion.prediction must be v or x_0 with zero_terminal_snr, as eps tells nothing of an image of which "
            "nothing is left, but got eps"
        )
    if config.training.loss_weighting != "uniform":
        yield (
            "training.loss_weighting must be uniform with diffusion.zero_terminal_snr, as the others weigh the last "
            f"timestep with 0, but got {config.training.loss_weighting}"
        )


def _variance_contradictions(config: Config) -> Iterator[str]:
    if config.sampling.source == "model" and config.sampling.sampler != "ddpm":
        yield (
            "sampling.sampler must be ddpm with diffusion.learned_variance, which no other draws by, "
            f"but got {config.sampling.sampler}"
        )


def _fid_contradictions(config: Config) -> Iterator[str]:
    real, fewest = config.fid.fewest_real, config.fid.fewest_samples
    if 0 < config.fid.reference_images < real:
        yield f"fid.reference_images must be 0, for all, or at least {real}, but got {config.fid.reference_images}"
    if names := config.fid.ambiguous:
        yield f"fid.metrics: the functions' names must differ from each other and from ours, but got {names}"
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
    for block in config.segmentation.blocks:
        if not isinstance(block, str) and block not in unet.up_blocks:
            yield (
                f"segmentation.blocks must be among the up blocks {list(unet.up_blocks)}, or names of modules, "
                f"but got {block}"
            )


def _network_contradictions(config: Config) -> Iterator[str]:
    if any(not isinstance(block, str) for block in config.segmentation.blocks) and reads_features(config):
        yield (
            f"segmentation.blocks must be names of modules of {config.network}, such as [up_blocks.*], "
            f"but got {list(config.segmentation.blocks)}"
        )


def reads_features(config: Config) -> bool:
    """Whether the trial reads its network's features."""
    return "segmentation" in config.stages and config.segmentation.features == "unet"


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
    if config.network != "unet":
        yield f"network must be unet with a pretrained network, but got {config.network}"
    for block in config.segmentation.blocks:
        if not isinstance(block, str) and not 0 <= block < config.pretrained.output_blocks:
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


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted name and the type of every setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.annotation


# Settings that name a part which may have arguments, those of `unet.block` under `unet.block_args`.
PARTS_WITH_ARGS = tuple(name.removesuffix("_args") for name, kind in _fields(Config) if kind is Args)


def references(settings: Config | Overrides) -> dict[str, str]:
    """The parts of a person's own that the settings name: `{"unet.block": "my_blocks.py:ReluBlock"}`."""
    found: dict[str, str] = {}
    for name, value in (flatten(settings) if isinstance(settings, Config) else settings).items():
        if name.rpartition(".")[0].endswith("_args"):
            continue  # a part's own affair
        several = enumerate(value) if isinstance(value, tuple | list) else ()
        found |= {name: value} if is_reference(value) else {f"{name}[{i}]": v for i, v in several if is_reference(v)}
    return found


def flatten(config: BaseModel, prefix: str = "") -> dict[str, Any]:
    """The settings as `{"unet.base_channels": 64, ...}`, in the order in which they are declared."""
    flat: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Args):
            flat |= {f"{prefix}{name}.{argument}": v for argument, v in value.items()}
        else:
            flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}": value}
    return flat


def apply(config: Config, overrides: Overrides) -> Config:
    """A new config with the dotted `overrides` laid over `config`.

    Raises:
        ConfigError: a name that does not exist, a value of the wrong type or range, or settings that contradict
            each other.
    """
    tree = config.model_dump()
    known = flatten(config) | flatten(Pretrained(), "pretrained.")
    args = [f"{name}_args" for name in PARTS_WITH_ARGS]
    known |= dict.fromkeys(args)
    # Another part has arguments of its own.
    cleared: dict[str, Any] = {f"{name}_args": {} for name in PARTS_WITH_ARGS if name in overrides}
    for name, value in {**cleared, **overrides}.items():
        if name not in known and name.rpartition(".")[0] not in args:
            raise ConfigError(_unknown_setting(name, list(known)))
        *sections, leaf = name.split(".")
        node = tree
        for section in sections:
            node[section] = node[section] or {}  # a pretrained network where there was none
            node = node[section]
        node[leaf] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from None


def _unknown_setting(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    siblings = [k for k in known if k.split(".")[0] == name.split(".")[0]]
    hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(siblings or known)}"
    return f"unknown setting {name!r}; {hint}"


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    # Of a list's members and of a union's types a person has not heard.
    name = ".".join(str(part) for part in first["loc"] if not isinstance(part, int) and part not in ("int", "str"))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        if message.startswith("must "):  # a field's own rule
            return f"{name} {message}"
        # A section's own rules name the field; those across sections name the section as well.
        return message if not name or message.startswith(f"{name}.") else f"{name}.{message}"
    return f"{name}: {message[0].lower()}{message[1:]}, but got {first['input']!r}"
