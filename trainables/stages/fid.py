"""The stage `fid`: what the sample sets are to the reference, by distances and by nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import Config
from trainables.data import About
from trainables.stages import reference, samples
from trainables.store import METRICS, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.checkpoints import Checkpoints
    from trainables.evaluation.neighbours import Nearest
    from trainables.progress import Making
    from trainables.stages.stage import Context

NAME, FORMAT, LABEL = "fid", 3, "FID"
NEAREST, SHOWN = "nearest.npz", 16  # the samples most like copies


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

    from trainables.evaluation import fid
    from trainables.evaluation.measures import How
    from trainables.progress import counted

    config, repeats = context.config, list[dict[str, float]]()
    sets = torch.from_numpy(np.load(context.artefacts[samples.NAME] / samples.SAMPLES))
    real = fid.Reference.load(context.artefacts[reference.NAME].folder)
    networks, chosen = fid.extractors(config.fid.built_in, context.device), reference.images(context)
    how = How(config.seed, config.fid.nearest_k, context.device)
    for repeat, images in enumerate(sets):
        done, total = repeat * len(images), sets.shape[0] * sets.shape[1]
        features = yield from counted(fid.extracted(networks, images.to(context.device)), done, total)
        found = fid.distances(config.fid.built_in, features, real, how)
        if not repeat:
            copies = fid.most_like_copies(config.fid.built_in, features, real, how)
        own = fid.own_metrics(config.fid.own, images.to(context.device), chosen.to(context.device), config.seed, repeat)
        repeats.append(found | own)
    counts = {"samples": float(sets.shape[1]), "reference_images": float(len(chosen))}

    def write(folder: Path) -> None:
        write_json(folder / METRICS, fid.averaged(repeats) | counts)
        if copies is not None:
            np.savez(folder / NEAREST, **_pairs(copies, sets[0], chosen))
        write_json(folder / "repeats.json", {name: [repeat[name] for repeat in repeats] for name in repeats[0]})

    return write


def _pairs(copies: Nearest, generated: Tensor, real: Tensor) -> dict[str, Any]:
    """The samples that are most like copies, the nearest real image of each, and how near it is; copies first."""
    first = copies.ratio.argsort(kind="stable")[:SHOWN]
    return {
        "samples": generated[first].numpy(),
        "nearest": real[copies.image[first]].numpy(),
        "ratio": copies.ratio[first],
    }


def flops(config: Config, about: About) -> float:
    """Each sample once on the metrics' networks."""
    return reference.network_flops(config) * config.sampling.sampling_repeats * config.sampling.samples


def metrics(config: Config) -> tuple[str, ...]:
    """The figures of those that are asked for."""
    return (*config.fid.figures, *config.fid.own)
