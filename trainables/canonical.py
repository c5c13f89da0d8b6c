"""What of a config can act in it: two trials that can only give the same are told from the start. Imports no torch.

A setting that the trial never reads, such as the cosine schedule's clip under a linear one, is brought to its neutral
value; configs that are the same then are twins. Keys are made from the settings as they are, so that what was stored
under them stays: but for settings that came later, which are in a key only where they change something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from trainables.config import Config, flatten
from trainables.own_parts import is_reference
from trainables.sections import Diffusion, Sampling, Section, Segmentation, Training, UNet
from trainables.training_rates import warmed_up_decay

# Settings that came after the first stores were made, each with the value that stands for what was before: where it has
# that value it is no part of a key. So a new setting makes nothing again.
LATER: Mapping[str, Any] = {
    "data.dataset_args": {},
    "network": "unet",
    "unet.channels": (),
    "unet.block_args": {},
    "unet.norm_args": {},
    "pretrained.num_heads": None,
    "pretrained.num_heads_upsample": None,
    "pretrained.use_new_attention_order": False,
    "unet.qk_norm": False,
    "unet.skip_scaling": 1.0,
    "diffusion.beta_scaling": "none",
    "diffusion.beta_schedule_args": {},
    "diffusion.beta_min": 1e-4,
    "diffusion.zero_terminal_snr": False,
    "diffusion.prediction": "eps",
    "diffusion.learned_variance": False,
    "training.weight_decay": 0.01,
    "training.ema_warmup": True,
    "training.loss": "mse",
    "training.loss_args": {},
    "training.loss_weighting": "uniform",
    "training.min_snr_gamma": 5.0,
    "training.p2_gamma": 1.0,
    "training.p2_k": 1.0,
    "training.self_conditioning": False,
    "training.flips": False,
    "sampling.sampler_args": {},
    "fid.nearest_k": 5,
    "segmentation.noise_levels": (),
    "segmentation.noise": "drawn",
    "segmentation.noise_draws": 1,
}

S = TypeVar("S", bound=Section)


def canonical(config: Config) -> Config:
    """The config with each setting that cannot act in it at its neutral value."""
    return config.model_copy(
        update={
            "unet": _unet(config),
            "diffusion": _diffusion(config.diffusion, config.pretrained is not None),
            "training": _training(config.training),
            "sampling": _sampling(config.sampling),
            "fid": config.fid if config.fid.prdc else _neutral(config.fid, "nearest_k"),
            "segmentation": _segmentation(config.segmentation),
        }
    )


def with_later_ones_neutral(config: Config) -> Config:
    """The config with those of the later settings that cannot act at their neutral values, and all others as given."""
    acting, changed = canonical(config), dict[str, Section]()
    for section, _, name in (setting.partition(".") for setting in LATER if "." in setting):
        given, neutral = changed.get(section, getattr(config, section)), getattr(acting, section)
        if given is not None:  # there may be no pretrained network
            changed[section] = given.model_copy(update={name: getattr(neutral, name)})
    return config.model_copy(update=changed)


def keyed(part: Any) -> Any:
    """What of `part` goes into a key: sections as dictionaries, without what stands for what was before."""
    if isinstance(part, Section):
        section = type(part).__name__.lower()
        values = part.model_dump()
        return {n: v for n, v in values.items() if not (f"{section}.{n}" in LATER and LATER[f"{section}.{n}"] == v)}
    return [keyed(inner) for inner in part] if isinstance(part, list) else part


def identified(config: Config) -> dict[str, Any]:
    """The settings by dotted name, without later ones at their defaults: what a study or a point is named by."""
    usual = flatten(Config())
    return {n: v for n, v in flatten(config).items() if not (n in LATER and usual.get(n, LATER[n]) == v)}


def _unet(config: Config) -> UNet:
    unet = config.unet
    if config.network != "unet":
        return UNet()
    if unet.channels == unet.model_copy(update={"channels": ()}).level_channels:
        unet = _neutral(unet, "channels")
    elif unet.channels:  # of the multipliers their number alone acts
        unet = unet.model_copy(update={"channel_mults": (1,) * unet.levels})
    unused = ["convnext_expansion"] if unet.block == "resnet" else []  # a block of one's own may read it
    return _neutral(unet, *unused, *([] if unet.attention_resolutions else ["attention_heads", "qk_norm"]))


def _diffusion(diffusion: Diffusion, pretrained: bool) -> Diffusion:
    if pretrained:  # its features are all that is asked for, and no prediction
        diffusion = _neutral(diffusion, "prediction", "learned_variance")
    if is_reference(diffusion.beta_schedule):
        return _neutral(diffusion, "beta_start", "beta_end", "beta_scaling", "beta_min", "beta_max")
    if diffusion.beta_schedule in ("cosine", "sigmoid"):
        return _neutral(diffusion, "beta_start", "beta_end", "beta_scaling")
    unscaled = ["beta_scaling"] if diffusion.timesteps == 1000 else []
    return _neutral(diffusion, "beta_min", "beta_max", *unscaled)


def _training(training: Training) -> Training:
    if training.warmup_steps >= training.train_steps:  # the decay never begins
        training = _neutral(training, "final_learning_rate")
    if not training.train_steps:  # self-conditioning makes another network
        acting = ("train_steps", "self_conditioning")
        return _neutral(training, *(name for name in Training.model_fields if name not in acting))
    weighting = training.loss_weighting
    unused = [
        *([] if weighting == "min_snr" else ["min_snr_gamma"]),
        *([] if weighting == "p2" else ["p2_gamma", "p2_k"]),
    ]
    training = _neutral(training, *unused)
    most = warmed_up_decay(training.train_steps - 1)
    if training.ema_warmup and training.ema_decay >= most:  # it is never reached
        return training.model_copy(update={"ema_decay": max(most, Training.model_fields["ema_decay"].default)})
    return training


def _sampling(sampling: Sampling) -> Sampling:
    if sampling.source == "held_out":
        return _neutral(sampling, *(name for name in Sampling.model_fields if name not in ("source", "samples")))
    return sampling


def _segmentation(segmentation: Segmentation) -> Segmentation:
    if segmentation.features == "pixels":
        return _neutral(segmentation, "blocks", "timesteps", "noise_levels", "noise", "noise_draws")
    unused = ["timesteps"] if segmentation.noise_levels else []
    return _neutral(segmentation, *unused, *(["noise_draws"] if segmentation.noise == "zero" else []))


def _neutral(section: S, *names: str) -> S:
    """The section with these settings as they are where nobody set them."""
    where = type(section).__name__.lower()
    values = {n: LATER.get(f"{where}.{n}", type(section).model_fields[n].default) for n in names}
    return section.model_copy(update=values)
