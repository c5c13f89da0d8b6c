"""Code of a person's own, tried before a study starts: what would end a trial, or keep its figures from repeating."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.planning.names import BASELINE
from orchestrator.planning.plan import Study
from trainables.config import Config, apply, reads_features, references
from trainables.data import About
from trainables.own_modules import told
from trainables.own_parts import PartError

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.training import Network

IMAGES = 4  # random ones, that two steps are tried on
METRIC_IMAGES = 16  # random ones in each of the two sets that a metric is tried on
NAMED = 3  # weights without a gradient, of how many there are
TRAINED = ("network", "unet.", "diffusion.", "training.")  # the settings of parts that a training runs


def check_own_code(study: Study) -> Study:
    """The study, with notes on what was seen of its parts: each variant that has some is built and trained two steps.

    Raises:
        UsageError: a part that cannot be made or run, that puts out what is no prediction, or whose figures would not
            repeat.
    """
    notes = list(study.notes)
    for name, config in _distinct(study):
        try:
            notes += [f"{name}: {note}" for note in _tried(config, study.about)]
        except PartError as error:
            raise UsageError(str(error) if name == BASELINE else f"variant {name}: {error}") from None
    return replace(study, notes=tuple(notes))


def _distinct(study: Study) -> Iterator[tuple[str, Config]]:
    """The first config of each variant with parts of the person's own, controls aside: they change none."""
    seen = set[str]()
    for trial in study.trials:
        if trial.kind == "variant" and trial.variant not in seen and references(trial.config):
            seen.add(trial.variant)
            yield trial.variant, trial.config
    if not study.trials and references(study.baseline):  # a search
        yield BASELINE, study.baseline


def _tried(config: Config, about: About) -> Iterator[str]:
    """Notes on the config's parts, once they have been tried.

    Raises:
        PartError: one of them cannot be used.
    """
    parts = references(config)
    trained = {setting: part for setting, part in parts.items() if setting.startswith(TRAINED)}
    if trained:
        with _told_of(trained):
            yield from _network_tried(config, about, _named(trained))
    if "fid" not in config.stages:
        return
    for setting, part in parts.items():
        with _told_of({setting: part}):
            if setting == "sampling.sampler":
                _check_sampler(config, about)
            elif setting.startswith("fid.metrics"):
                _check_metric(part, config, about)


def _named(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{setting}={part}" for setting, part in parts.items())


@contextlib.contextmanager
def _told_of(parts: Mapping[str, str]) -> Iterator[None]:
    """Raises whatever ends the block as a `PartError` that names its parts, each once."""
    try:
        yield
    except PartError as error:
        setting = next((f"{setting}=" for setting, part in parts.items() if str(error).startswith(f"{part}: ")), "")
        raise PartError(f"{setting}{error}" if setting else f"{_named(parts)}: {error}") from None
    except Exception as error:  # whatever a person's code raises
        raise PartError(f"{_named(parts)}: {told(error)}") from None


def _network_tried(config: Config, about: About, whose: str) -> Iterator[str]:
    import torch

    from trainables.training import build

    size, channels = config.data.image_size, about.image_channels
    network = build(config, channels, torch.device("cpu")).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():  # a last layer that begins at zero would hide what comes before it
        weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)
    x_t = torch.randn(2, config.input_images * channels, size, size, generator=generator)
    expected = (2, config.output_images * channels, size, size)
    output = _prediction(network, x_t, 1, expected)
    if not torch.equal(output, _prediction(network, x_t, 1, expected)):
        raise PartError("two forwards in eval mode differ: figures would not repeat")
    if torch.equal(output, _prediction(network, x_t, config.diffusion.timesteps - 1, expected)):
        yield f"{whose} puts out the same at every timestep: does it use t?"
    if reads_features(config):
        _check_features(network, config, x_t)
    ungraded = _check_training(config, channels)
    if ungraded:
        yield f"{whose}: no gradient in two steps of training for {ungraded}: detached, or not used?"


def _prediction(network: Network, x_t: Tensor, t: int, expected: tuple[int, ...]) -> Tensor:
    import torch

    output: Tensor = network(x_t, torch.full((len(x_t),), t))
    if tuple(output.shape) != expected:
        raise PartError(f"must put out a prediction of shape {expected}, not {tuple(output.shape)}")
    if output.dtype != x_t.dtype:
        raise PartError(f"must put out {x_t.dtype}, not {output.dtype}")
    if not bool(torch.isfinite(output).all()):
        raise PartError("puts out what is not finite")
    return output


def _check_features(network: Network, config: Config, x_t: Tensor) -> None:
    import torch

    outputs = network.features(x_t, torch.ones(len(x_t), dtype=torch.long), config.segmentation.blocks)
    for name, output in outputs.items():
        if output.shape[-1] > config.data.image_size:
            raise PartError(
                f"segmentation.blocks: {name} puts out maps of {output.shape[-1]} pixels, above the image's"
            )


def _check_training(config: Config, channels: int) -> str:
    """The weights that two steps of training give no gradient, in words; "" for none.

    The steps, made twice from one seed, must end at the same weights, and those must be fit to be kept.
    """
    import torch
    from safetensors.torch import save

    from trainables.stages.ddpm import weights_of
    from trainables.training import Trainer

    size = config.data.image_size
    images = torch.randint(0, 256, (IMAGES, channels, size, size), generator=torch.Generator().manual_seed(1))
    brief = apply(config, {"training.train_steps": 2, "training.batch_size": 2})
    ends, graded = list[bytes](), set[str]()
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):  # a training seeds the global generator
            trainer = Trainer(brief, images.to(torch.uint8))
            for _ in trainer.run():  # at each step: a layer may be left out of some, at random
                graded |= {name for name, weight in trainer.model.named_parameters() if weight.grad is not None}
        ends.append(save(weights_of(trainer.ema)))
    if ends[0] != ends[1]:
        raise PartError(
            "two trainings from one seed differ: draw at random from torch's global generator alone, which is seeded, "
            "not from random, numpy or a generator of your own"
        )
    # Not those that are 0: what begins at zero gives what comes before it such gradients.
    meant = [name for name, weight in trainer.model.named_parameters() if weight.requires_grad]
    return _listed([name.removeprefix("network.") for name in meant if name not in graded])


def _listed(names: Sequence[str]) -> str:
    """The first of the names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _check_sampler(config: Config, about: About) -> None:
    """Two steps of sampling, of which the last one is to the clean images, twice from the same noise."""
    import torch

    from trainables.diffusion.process import Process
    from trainables.diffusion.samplers import denoise

    class Silent(torch.nn.Module):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return torch.zeros_like(x_t).repeat(1, config.output_images, 1, 1)

    process, size = Process(config.diffusion), config.data.image_size
    x_t = torch.randn(2, about.image_channels, size, size, generator=torch.Generator().manual_seed(0))
    two, ends = config.sampling.model_copy(update={"sampling_steps": 2}), []
    for _ in range(2):
        (*_, (_, images)) = denoise(Silent(), process, x_t, two, torch.Generator().manual_seed(1))
        ends.append(images)
    if not bool(torch.isfinite(ends[0]).all()):
        raise PartError("gives images that are not finite")
    if not torch.equal(*ends):
        raise PartError("two draws from one generator differ: draw at random from the generator that it is given alone")


def _check_metric(part: str, config: Config, about: About) -> None:
    """It must give a finite number of two sets of images, and the same one again."""
    import torch

    from trainables.evaluation.fid import own_metrics

    shape, generator = (METRIC_IMAGES, about.image_channels, *[config.data.image_size] * 2), torch.Generator()
    samples, real = (torch.randint(0, 256, shape, generator=generator.manual_seed(i)).to(torch.uint8) for i in (0, 1))
    first, second = (own_metrics({part: part}, samples, real, 0, 0)[part] for _ in range(2))
    for value in (first, second):
        if not math.isfinite(value):
            raise PartError(f"gives {value:g} of {METRIC_IMAGES} random images: must give a finite number")
    if first != second:
        raise PartError(f"gives {first:g}, then {second:g} of the same images: figures would not repeat")
