"""The stage `fid`: the distances of the sample sets from the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.config import Config
from trainables.data import About
from trainables.stages import reference, samples
from trainables.store import METRICS, write_json

if TYPE_CHECKING:
    from trainables.checkpoints import Checkpoints
    from trainables.progress import Making
    from trainables.stages.stage import Context

NAME, FORMAT, LABEL = "fid", 3, "FID"


def needs(config: Config) -> tuple[str, ...]:
    """Both sides of the distance."""
    return (samples.NAME, reference.NAME)


def determined_by(config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
    """Both sides of the distance, and the metrics."""
    return [[config.data, about.fingerprint], keys[samples.NAME], keys[reference.NAME], config.fid]


def make(context: Context, checkpoints: Checkpoints) -> Making:
    """Progress by images; returns what writes the metrics, mean over the repeats, and each repeat's own."""
    import numpy as np
    import torch

    from trainables.evaluation.fid import Reference, averaged, distances, extracted, extractors, own_metrics
    from trainables.progress import counted

    config, repeats = context.config, list[dict[str, float]]()
    sets = torch.from_numpy(np.load(context.artefacts[samples.NAME] / samples.SAMPLES))
    real = Reference.load(context.artefacts[reference.NAME].folder)
    networks, chosen = extractors(config.fid.built_in, context.device), reference.images(context)
    for repeat, images in enumerate(sets):
        done, total = repeat * len(images), sets.shape[0] * sets.shape[1]
        features = yield from counted(extracted(networks, images.to(context.device)), done, total)
        found = distances(config.fid.built_in, features, real, config.seed)
        own = own_metrics(config.fid.own, images.to(context.device), chosen.to(context.device), config.seed, repeat)
        repeats.append(found | own)
    counts = {"samples": float(sets.shape[1]), "reference_images": float(len(chosen))}

    def write(folder: Path) -> None:
        write_json(folder / METRICS, averaged(repeats) | counts)
        write_json(folder / "repeats.json", {name: [repeat[name] for repeat in repeats] for name in repeats[0]})

    return write


def flops(config: Config, about: About) -> float:
    """Each sample once on the metrics' networks."""
    return reference.inception_flops(config) * config.sampling.sampling_repeats * config.sampling.samples


def metrics(config: Config) -> tuple[str, ...]:
    """Those that are asked for."""
    return (*config.fid.built_in, *config.fid.own)
