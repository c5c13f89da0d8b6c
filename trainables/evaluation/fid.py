"""Distances between sets of images on features of fixed networks: `fid` and `kid` on clean-fid's Inception, and
`fid_digits` on the small classifier of grey digits that ships with this package. A metric's name says which.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.evaluation import digits_classifier, inception
from trainables.evaluation.frechet import Moments, extrapolated, frechet_distance, kid, moments
from trainables.images import to_unit
from trainables.own_parts import PartError, load
from trainables.randomness import derived_seed

BATCH = 500  # images in one round
EXTRAPOLATED = "_extrapolated"
NETWORKS = {"fid_digits": "digits", "fid": "inception", "kid": "inception"}

Features = NDArray[np.float64]
Extractor = Callable[[Tensor], Features]


def extractors(metrics: Iterable[str], device: torch.device) -> dict[str, Extractor]:
    """The networks that the metrics need: each gives the features (N, D) of uint8 images (N, C, H, W).

    Raises:
        DataError: the Inception's weights are not there and cannot be had.
    """
    loaders = {NETWORKS[metric]: LOADERS[metric] for metric in metrics}
    return {name: load(device) for name, load in loaders.items()}


def extracted(networks: dict[str, Extractor], images: Tensor) -> Generator[int, None, dict[str, Features]]:
    """How many images are done; returns the features of all, network by network."""
    found: dict[str, list[Features]] = {name: [] for name in networks}
    done = 0
    for batch in images.split(BATCH):
        for name, network in networks.items():
            found[name].append(network(batch))
        done += len(batch)
        yield done
    return {name: np.concatenate(parts) for name, parts in found.items()}


@dataclass(frozen=True)
class Reference:
    """What the distances need to know of the real images.

    Args:
        moments: of the features, network by network.
        features: of the networks whose features `kid` compares, (N, D).
    """

    moments: dict[str, Moments]
    features: dict[str, Features] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many real images it is made from."""
        return next(iter(self.moments.values())).n

    @staticmethod
    def of(features: dict[str, Features], metrics: Iterable[str]) -> Reference:
        """The reference for the metrics, from the real images' features."""
        kept = {NETWORKS[metric] for metric in metrics if metric == "kid"}
        return Reference({name: moments(f) for name, f in features.items()}, {name: features[name] for name in kept})

    def save(self, folder: Path) -> None:
        """Writes it as .npz files."""
        for name, m in self.moments.items():
            np.savez(folder / f"{name}.npz", n=m.n, mean=m.mean, covariance=m.covariance)
        for name, f in self.features.items():
            np.save(folder / f"{name}_features.npy", f.astype(np.float32))  # as the network put them out

    @staticmethod
    def load(folder: Path) -> Reference:
        """What `save` wrote."""
        files = {path.stem: np.load(path) for path in folder.glob("*.npz")}
        found = {name: Moments(int(f["n"]), f["mean"], f["covariance"]) for name, f in files.items()}
        paths = folder.glob("*_features.npy")
        return Reference(found, {p.stem.removesuffix("_features"): np.load(p).astype(np.float64) for p in paths})


def distances(
    metrics: Iterable[str], features: dict[str, Features], reference: Reference, seed: int
) -> dict[str, float]:
    """The metrics of one sample set; a Frechet distance also at half the samples, and extrapolated to infinitely many.

    Args:
        features: of the samples, network by network, (N, D).
        seed: of the trial, for the subsets of `kid`.

    Source: Heusel et al. 2017 (arXiv:1706.08500), equation 6; Binkowski et al. 2018 (arXiv:1801.01401); Chong &
    Forsyth 2020 (arXiv:1911.07023).
    """
    found: dict[str, float] = {}
    for metric in metrics:
        samples = features[NETWORKS[metric]]
        if metric == "kid":
            found[metric] = kid(reference.features[NETWORKS[metric]], samples, seed)
            continue
        real = reference.moments[NETWORKS[metric]]
        whole = frechet_distance(moments(samples), real)
        halves = [frechet_distance(moments(half), real) for half in np.array_split(samples, 2)]
        half = float(np.mean(halves))
        found |= {metric: whole, f"{metric}_half": half, f"{metric}{EXTRAPOLATED}": extrapolated(whole, half)}
    return found


def own_metrics(metrics: Mapping[str, str], samples: Tensor, real: Tensor, seed: int, repeat: int) -> dict[str, float]:
    """The metrics of the person's own of one sample set: each a function of (samples, real).

    Args:
        metrics: the figure's name -> the part.
        samples: uint8 (N, C, H, W).
        real: the reference's images, uint8 (M, C, H, W).
        seed: of the trial; with the metric and the repeat it seeds torch's global generator.

    Raises:
        PartError: one that gives no number.
    """
    found: dict[str, float] = {}
    for name, reference in metrics.items():
        with torch.random.fork_rng(devices=[samples.device] if samples.is_cuda else []):
            torch.manual_seed(derived_seed(seed, "metric", name, repeat))
            value = load(reference)(samples, real)
        try:
            found[name] = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise PartError(f"{reference}: must give a number, but gives {type(value).__name__}") from None
    return found


def averaged(repeats: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of a model, means over its sample sets, and the spread of each as `<metric>_repeats_sd`.

    Sets of one model are no replicates: their spread is the sampling's alone. An extrapolation that falls below zero is
    told as 0, as no distance is less. One set has no spread.
    """
    values = {name: [repeat[name] for repeat in repeats] for name in repeats[0]}
    means = {name: float(np.mean(v)) for name, v in values.items()}
    means = {name: max(0.0, v) if name.endswith(EXTRAPOLATED) else v for name, v in means.items()}
    if len(repeats) < 2:
        return means
    derived = ("_half", EXTRAPOLATED)
    measured = [name for name in values if not (name.endswith(derived) and name.rpartition("_")[0] in NETWORKS)]
    return means | {f"{name}_repeats_sd": float(np.std(values[name], ddof=1)) for name in measured}


def _digits(device: torch.device) -> Extractor:
    network = digits_classifier.load(device)

    @torch.no_grad()
    def features(images: Tensor) -> Features:
        return network.features(to_unit(images)).double().cpu().numpy()

    return features


def _inception(device: torch.device) -> Extractor:
    return inception.load(device).features


LOADERS: dict[str, Callable[[torch.device], Extractor]] = {"fid_digits": _digits, "fid": _inception, "kid": _inception}
