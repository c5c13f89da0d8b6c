"""The settings of each part of a trial, with their defaults, ranges and units. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trainables.own_parts import Args, Named, is_reference, name_of


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _truth_values_where_they_belong(cls, values: Any) -> Any:
        """Pydantic would take a truth value for 0 or 1."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field and field.annotation is not bool:
                raise ValueError(f"{name} must not be true or false, but got {value!r}")
        return values


class Data(Section):
    """The dataset and the size that its images are brought to."""

    dataset: Annotated[str, Named(("digits", "mnist", "fashion_mnist", "cifar10", "voc", "folder", "bedroom28"))] = (
        "digits"
    )
    dataset_args: Args = Args()  # of a dataset of one's own
    image_size: int = Field(default=16, ge=8, le=1024)  # pixels; images are square


class UNet(Section):
    """The network."""

    base_channels: int = Field(default=64, ge=8, multiple_of=8)
    channel_mults: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 2, 4, 8), min_length=1)
    channels: tuple[Annotated[int, Field(ge=1)], ...] = ()  # of each level, in place of base_channels * channel_mults
    blocks_per_level: int = Field(default=2, ge=1)
    block: Annotated[str, Named(("resnet", "convnext"))] = "resnet"
    block_args: Args = Args()  # of a block of one's own
    norm: Annotated[str, Named(("group", "adagn"))] = "group"
    norm_args: Args = Args()  # of a norm of one's own
    norm_groups: int = Field(default=8, ge=1)
    attention_resolutions: tuple[Annotated[int, Field(ge=1)], ...] = (16, 8, 4)  # pixels; () removes all attention
    attention_heads: int = Field(default=4, ge=1)
    convnext_expansion: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    qk_norm: bool = False  # attention's queries and keys are normalised
    skip_scaling: float = Field(default=1.0, gt=0)  # factor of the skips into the up blocks

    @property
    def levels(self) -> int:
        """The number of resolutions."""
        return len(self.channel_mults)

    @property
    def level_channels(self) -> tuple[int, ...]:
        """The channels of each level, the finest first."""
        return self.channels or tuple(self.base_channels * mult for mult in self.channel_mults)

    @property
    def up_blocks(self) -> tuple[int, ...]:
        """The numbers of the up blocks: after the down blocks 1..L and the middle block L + 1."""
        return tuple(range(self.levels + 2, 2 * self.levels + 2))


class Pretrained(Section):
    """A U-Net of guided-diffusion's with the weights of a checkpoint; the names are that project's flags."""

    image_channels: ClassVar[int] = 3  # of every network that project makes; grey images are repeated to as many
    # The checkpoint's SHA-256; random: an untrained control.
    weights: str = Field(default="random", pattern="^(random|[0-9a-f]{64})$")
    num_channels: int = Field(default=256, ge=32, multiple_of=32)
    num_res_blocks: int = Field(default=2, ge=1)
    channel_mult: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 1, 2, 2, 4, 4), min_length=1)
    attention_resolutions: tuple[Annotated[int, Field(ge=1)], ...] = (32, 16, 8)  # pixels
    num_head_channels: int = Field(default=64, ge=-1)  # of each attention head; -1: num_heads decides
    num_heads: int | None = Field(default=None, ge=1)  # of each attention; only where num_head_channels is -1
    num_heads_upsample: int | None = Field(default=None, ge=1)  # of the output blocks; None: num_heads
    use_new_attention_order: bool = False  # query, key and value before the heads; no shape tells, as of the heads
    resblock_updown: bool = True
    use_scale_shift_norm: bool = True
    learn_sigma: bool = True

    @property
    def output_blocks(self) -> int:
        """The number of output blocks; they are counted from 0."""
        return len(self.channel_mult) * (self.num_res_blocks + 1)


class Diffusion(Section):
    """The forward process, and what is predicted of it."""

    timesteps: int = Field(default=1000, ge=2)
    beta_schedule: Annotated[str, Named(("linear", "cosine", "sigmoid"))] = "linear"
    beta_schedule_args: Args = Args()  # of a schedule of one's own
    beta_start: float = Field(default=1e-4, gt=0, lt=1)  # linear schedule, at 1000 timesteps
    beta_end: float = Field(default=0.02, gt=0, lt=1)  # linear schedule, at 1000 timesteps
    beta_scaling: Literal["by_timesteps", "none"] = "by_timesteps"  # linear schedule: times 1000 / timesteps
    beta_min: float = Field(default=0.0, ge=0, lt=1)  # cosine and sigmoid: the lower clip; the ablation study's is 1e-4
    beta_max: float = Field(default=0.999, gt=0, lt=1)  # cosine and sigmoid: the upper clip
    zero_terminal_snr: bool = False  # rescales the schedule, so that nothing is left of the image at its end
    prediction: Literal["eps", "x_0", "v"] = "eps"  # what the network puts out
    learned_variance: bool = False  # of the sampler's steps: twice the output channels

    @model_validator(mode="after")
    def _rises(self) -> Diffusion:
        if self.beta_start >= self.beta_end:
            raise ValueError(f"diffusion.beta_end must be above beta_start={self.beta_start}, but got {self.beta_end}")
        if self.beta_min >= self.beta_max:
            raise ValueError(f"diffusion.beta_max must be above beta_min={self.beta_min}, but got {self.beta_max}")
        scaled = self.beta_schedule == "linear" and self.beta_scaling == "by_timesteps"
        if scaled and self.timesteps <= 1000 * self.beta_end:
            raise ValueError(
                f"diffusion.timesteps must be above {1000 * self.beta_end:g} where beta_end={self.beta_end} is scaled "
                f"by 1000 / timesteps (beta_scaling), but got {self.timesteps}"
            )
        return self


class Training(Section):
    """The DDPM's optimisation."""

    train_steps: int = Field(default=10_000, ge=0)  # 0: the untrained control
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    final_learning_rate: float = Field(default=1.0, ge=0, le=1)  # factor that a cosine decay ends at; 1: constant
    weight_decay: float = Field(default=0.01, ge=0)  # AdamW's, decoupled from the gradient
    ema_decay: float = Field(default=0.9999, ge=0, lt=1)
    ema_warmup: bool = True  # at most (1 + step) / (10 + step): a short memory while the weights still move fast
    grad_clip: float = Field(default=1.0, gt=0)  # norm
    precision: Literal["fp32", "bf16"] = "fp32"
    loss: Annotated[str, Named(("mse", "l1", "huber"))] = "mse"  # of what the network predicts
    loss_args: Args = Args()  # of a loss of one's own
    loss_weighting: Literal["uniform", "min_snr", "p2"] = "uniform"  # of the timesteps
    min_snr_gamma: float = Field(default=5.0, gt=0)  # the SNR that min_snr's weights are cut at
    p2_gamma: float = Field(default=1.0, gt=0)  # p2's exponent
    p2_k: float = Field(default=1.0, gt=0)  # added to the SNR in p2
    self_conditioning: bool = False  # the network takes its last estimate of x_0 too: twice the input channels
    flips: bool = False  # each image mirrored left to right, or not, at every step anew


class Sampling(Section):
    """The sample sets that FID is measured on."""

    source: Literal["model", "held_out"] = "model"  # held_out: real images, the floor of FID
    sampler: Annotated[str, Named(("ddpm", "ddim"))] = "ddpm"
    sampler_args: Args = Args()  # of a sampler of one's own
    sampling_steps: int = Field(default=1000, ge=1)
    sampling_repeats: int = Field(default=3, ge=1)
    samples: int = Field(default=10_000, ge=2)  # images a repeat
    batch_size: int = Field(default=500, ge=1)


FID_METRICS = (
    *("fid_digits", "prdc_digits", "copies_digits"),
    *("fid", "kid", "prdc_inception", "copies_inception"),
    *("fd_dinov2", "prdc_dinov2", "copies_dinov2"),
)
PRDC = ("precision", "recall", "density", "coverage")
OTHER_FIGURES = ("miou", "samples", "reference_images", "loss", "uncertainty", "pixel_accuracy")
FEWEST_IMAGES = 2  # that have a covariance


class Fid(Section):
    """What sample sets are measured by: distances from the reference, and nearest neighbours in it."""

    metrics: tuple[Annotated[str, Named(FID_METRICS)], ...] = Field(default=("fid_digits",), min_length=1)
    reference_images: int = Field(default=0, ge=0)  # of the training images; 0: all of them
    nearest_k: int = Field(default=5, ge=1)  # prdc: the distance to which neighbour is an image's radius

    @property
    def built_in(self) -> tuple[str, ...]:
        """The metrics of ours."""
        return tuple(metric for metric in self.metrics if not is_reference(metric))

    @property
    def networks(self) -> set[str]:
        """The networks that ours look at images with: digits, inception, dinov2."""
        return {metric.partition("_")[2] or "inception" for metric in self.built_in}

    @property
    def prdc(self) -> tuple[str, ...]:
        """Those of ours that stand for precision, recall, density and coverage."""
        return tuple(metric for metric in self.built_in if metric.startswith("prdc_"))

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the figures that ours give."""
        expanded = {metric: [metric.replace("prdc", name) for name in PRDC] for metric in self.prdc}
        return tuple(figure for metric in self.built_in for figure in expanded.get(metric, [metric]))

    @property
    def fewest_real(self) -> int:
        """Real images of which the metrics can be measured: each has a k-th neighbour."""
        return max(FEWEST_IMAGES, 1 + self.nearest_k if self.prdc else 0)

    @property
    def fewest_samples(self) -> int:
        """Samples of which they can be; a Frechet distance is measured at half of them too."""
        frechet = any(metric.startswith(("fid", "fd_")) for metric in self.built_in)
        return max(FEWEST_IMAGES * (1 + frechet), self.fewest_real)

    @property
    def ambiguous(self) -> list[str]:
        """The metrics' names, where two are the same or a function is called as a figure of ours."""
        names = [name_of(metric) for metric in self.metrics]
        ours = {*OTHER_FIGURES, *FID_METRICS, *Fid(metrics=FID_METRICS).figures}
        return names if len(set(names)) < len(names) or ours & self.own.keys() else []

    @property
    def own(self) -> dict[str, str]:
        """The metrics of the person's own: the name of the figure -> the part."""
        return {name_of(metric): metric for metric in self.metrics if is_reference(metric)}


class Segmentation(Section):
    """The pixel classifier on the U-Net's features."""

    features: Literal["unet", "pixels"] = "unet"  # pixels: raw values, the control
    # Numbers of our up blocks, or names of the network's modules; * in them stands for anything but a dot.
    blocks: tuple[int | str, ...] = Field(default=(6, 7, 8, 9), min_length=1)
    timesteps: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(50, 150, 250), min_length=1)
    noise_levels: tuple[float, ...] = ()  # log-SNR in nats, in place of timesteps: the same noise in every schedule
    noise: Literal["drawn", "zero"] = "drawn"  # zero: the image is scaled as at the timestep, and no noise is added
    noise_draws: int = Field(default=1, ge=1)  # whose features are averaged
    label_images: int = Field(default=40, ge=1)
    validation_images: int = Field(default=20, ge=0)  # labelled, not trained on; only the loss on them is measured
    held_out_images: int = Field(default=500, ge=1)  # scored; the same for every seed
    ensemble_size: int = Field(default=10, ge=1)
    # The reference has (256, 128) from 30 classes on; () is a linear probe.
    hidden_channels: tuple[Annotated[int, Field(ge=1)], ...] = (128, 32)
    pixel_order: Literal["shuffled", "by_image"] = "shuffled"  # by_image: a batch is of one image
    epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=64, ge=2)  # pixels
    learning_rate: float = Field(default=1e-3, gt=0)
    miou_rules: tuple[Literal["void_masked", "reference"], ...] = Field(default=("void_masked",), min_length=1)

    @field_validator("blocks")
    @classmethod
    def _names_modules(cls, blocks: tuple[int | str, ...]) -> tuple[int | str, ...]:
        for block in blocks:
            if isinstance(block, str) and not re.fullmatch(r"[\w*]+(\.[\w*]+)*", block):
                raise ValueError(f"must be numbers, or names of modules such as up_blocks.*, but got {block!r}")
        return blocks
