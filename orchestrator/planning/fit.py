"""Whether a config fits the study: its data, and the variants beside it."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.errors import UsageError
from orchestrator.planning.names import BASELINE
from trainables.config import Config, ConfigError
from trainables.data import About
from trainables.diffusion.schedules import timesteps_at


def fitted(config: Config, facts: About) -> Config:
    """A control's config, with as many real images as there are where it asks for more."""
    if config.sampling.source != "held_out" or config.sampling.samples <= facts.held_out_images:
        return config
    return config.model_copy(update={"sampling": config.sampling.model_copy(update={"samples": facts.held_out_images})})


def check_fit(name: str, kind: str, config: Config, facts: About, own: About, dataset: str) -> None:
    """Passes if the config fits the study's data, and has no other.

    Args:
        kind: "variant", "control" or "probe".
        facts: of the study's dataset.
        own: of the config's.
        dataset: what the study's is called.
    """
    try:
        if own != facts:
            raise ConfigError("a variant cannot change the dataset: its figures would not compare with the baseline's")
        _fits(config, facts, dataset)
    except ConfigError as error:
        raise UsageError(str(error) if name == BASELINE else f"{kind} {name}: {error}") from None


def _fits(config: Config, facts: About, dataset: str) -> None:
    """Checks what only the dataset can tell."""
    segmentation, sampling = config.segmentation, config.sampling
    if config.pretrained is None and not facts.train_images:
        raise ConfigError(f"data.dataset: {dataset} has no images to train a DDPM on; it needs a pretrained one")
    if "segmentation" in config.stages and not facts.class_names:
        raise ConfigError(
            f"stages must be [fid], as of the command ablations: the data ({dataset}) have no masks to learn a "
            f"segmentation from, but got {list(config.stages)}"
        )
    wanted = segmentation.label_images + segmentation.validation_images
    if "segmentation" in config.stages and wanted > facts.label_images:
        raise ConfigError(
            f"segmentation.label_images + validation_images must be at most {facts.label_images}, "
            f"the labelled split of {dataset}, but got {segmentation.label_images} + {segmentation.validation_images} "
            "(--set segmentation.label_images=...)"
        )
    if "fid" in config.stages and sampling.source == "held_out":
        if sampling.samples > facts.held_out_images:
            raise ConfigError(
                f"sampling.samples must be at most {facts.held_out_images}, the held-out images of {dataset}, "
                f"but got {sampling.samples}"
            )
        if sampling.samples < (fewest := config.fid.fewest_samples):
            raise ConfigError(f"{dataset} has {facts.held_out_images} held-out images, and fid needs {fewest} at least")
    if "fid" in config.stages and facts.train_images < (fewest := config.fid.fewest_real):
        raise ConfigError(f"{dataset} has {facts.train_images} training images, and fid needs {fewest} at least")
    if "segmentation" in config.stages and segmentation.features == "unet" and segmentation.noise_levels:
        try:
            timesteps_at(config.diffusion, segmentation.noise_levels)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    of_digits = [metric for metric in config.fid.built_in if metric.endswith("_digits")]
    if "fid" in config.stages and of_digits and facts.image_channels != 1:
        raise ConfigError(
            f"fid.metrics: {of_digits[0]} is for grey images, and {dataset} has {facts.image_channels} channels; "
            "--set fid.metrics=[fid] takes the Inception's features"
        )


def check_distinct(name: str, config: Config, others: Mapping[str, Config]) -> None:
    """Passes if the variant is none of the others under another name.

    Args:
        others: the variants before it, the baseline among them.

    Raises:
        UsageError: it is one.
    """
    for twin, other in others.items():
        if config == other:
            same = (
                "changes nothing, the baseline is already so" if twin == BASELINE else f"is the same as variant {twin}"
            )
            raise UsageError(f"variant {name}: {same}")


def check_used(name: str, stages: Mapping[str, str], seen: dict[frozenset[tuple[str, str]], str]) -> None:
    """Passes if the variant makes something that none before it makes.

    Args:
        stages: the variant's keys by stage, of what can act in it.
        seen: the variants before it by theirs; this one is added.
    """
    twin = seen.setdefault(frozenset(stages.items()), name)
    if twin != name:
        raise UsageError(f"variant {name}: the stages {', '.join(stages)} make no use of it; it would repeat {twin}")
