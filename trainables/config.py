"""One trial's config: its sections, which of them must fit together, and how it is changed. Imports no torch.

A config is frozen. A variant, `--set` and a YAML file change it by one language, dotted overrides:
`apply(config, {"unet.block": "convnext"})`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from trainables import contradictions
from trainables.own_parts import Args, Named, is_reference
from trainables.sections import Data, Diffusion, Fid, Pretrained, Sampling, Section, Segmentation, Training, UNet

Overrides = Mapping[str, Any]


class ConfigError(ValueError):
    """A setting that cannot be; its text is one line that names the setting and what is allowed."""


class Config(Section):
    """The whole of one trial. Every cross-section rule that the configuration alone can tell is checked."""

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
    """The lines of `contradictions` on this config, in the order in which they are told."""
    data, diffusion, sampling, segmentation = config.data, config.diffusion, config.sampling, config.segmentation
    yield from _part_contradictions(config)
    if config.pretrained is not None:
        yield from _trained_contradictions(config)
        yield from contradictions.of_the_pretrained(config.pretrained, data, segmentation)
    elif config.network == "unet":
        yield from contradictions.of_the_unet(config.unet, data, segmentation)
    elif reads_features(config):
        yield from contradictions.of_own_network(config.network, segmentation)
    if config.pretrained is None and diffusion.zero_terminal_snr:
        yield from contradictions.of_zero_terminal_snr(diffusion, config.training)
    yield from contradictions.of_the_timesteps(diffusion, segmentation)
    for name in _WITHOUT_REPETITION:
        values = attrgetter(name)(config)
        if len(set(values)) < len(values):
            yield f"{name} must not repeat a value, but got {list(values)}"
    if "fid" in config.stages:
        yield from contradictions.of_the_fid(config.fid, sampling)
        if config.pretrained is None and diffusion.learned_variance:
            yield from contradictions.of_a_learned_variance(sampling)
    if "segmentation" in config.stages:
        yield from contradictions.of_the_classifier(segmentation, data)
    yield from contradictions.of_the_steps(sampling, diffusion)


def _trained_contradictions(config: Config) -> Iterator[str]:
    """What asks for a network that is trained beside a pretrained one."""
    if config.stages != ("segmentation",):
        yield f"stages must be [segmentation] with a pretrained network, but got {list(config.stages)}"
    if config.network != "unet":
        yield f"network must be unet with a pretrained network, but got {config.network}"


def _part_contradictions(config: Config) -> Iterator[str]:
    for name in PARTS_WITH_ARGS:
        part, args = attrgetter(name)(config), attrgetter(f"{name}_args")(config)
        if args and not is_reference(part):
            yield f"{name}_args count only with a part of your own, but {name} is {part} and they are {dict(args)}"


_WITHOUT_REPETITION = (
    "stages",
    "unet.attention_resolutions",
    "fid.metrics",
    "segmentation.blocks",
    "segmentation.timesteps",
    "segmentation.noise_levels",
    "segmentation.miou_rules",
)


def reads_features(config: Config) -> bool:
    """Whether the trial reads its network's features."""
    return "segmentation" in config.stages and config.segmentation.features == "unet"


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
