"""Metrics of sets of images on features of fixed networks: `fid`, `kid` and those in `_inception` on clean-fid's, those
in `_dinov2` on DINOv2's ViT-L/14, and those in `_digits` on the small classifier of grey digits that ships with this
package. A metric's name says which.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.evaluation import digits_classifier, dinov2, inception
from trainables.evaluation.frechet import Moments, moments
from trainables.evaluation.measures import (
    EXTRAPOLATED,
    Copies,
    Features,
    Frechet,
    How,
    Kept,
    Kernel,
    Measure,
    Prdc,
    Real,
    k_th_distance,
)
from trainables.evaluation.neighbours import Nearest
from trainables.images import to_unit
from trainables.own_parts import PartError, load
from trainables.randomness import derived_seed

BATCH = 500  # images in one round
NOTHING = np.empty(0)
FILES = {"inception": inception.FILE, "dinov2": dinov2.FILE}  # of the networks that are published elsewhere
# Of a table only what a setting names is in a stage's key, so each of these has every metric.
KEPT = {
    "fid_digits": Kept(),
    "prdc_digits": Kept(features=True, radii=k_th_distance),
    "copies_digits": Kept(features=True),
    "fid": Kept(),
    "kid": Kept(features=True),
    "prdc_inception": Kept(features=True, radii=k_th_distance),
    "copies_inception": Kept(features=True),
    "fd_dinov2": Kept(),
    "prdc_dinov2": Kept(features=True, radii=k_th_distance),
    "copies_dinov2": Kept(features=True),
}
MEASURES: dict[str, Measure] = {
    "fid_digits": Frechet(),
    "prdc_digits": Prdc(),
    "copies_digits": Copies(),
    "fid": Frechet(),
    "kid": Kernel(),
    "prdc_inception": Prdc(),
    "copies_inception": Copies(),
    "fd_dinov2": Frechet(),
    "prdc_dinov2": Prdc(),
    "copies_dinov2": Copies(),
}

Extractor = Callable[[Tensor], Features]


def network_of(metric: str) -> str:
    """The network that a metric looks at images with; one without a name in it is of the Inception by definition."""
    return metric.partition("_")[2] or "inception"


def extractors(metrics: Iterable[str], device: torch.device) -> dict[str, Extractor]:
    """The networks that the metrics need: each gives the features (N, D) of uint8 images (N, C, H, W).

    Raises:
        DataError: a network's weights are not there and cannot be had.
    """
    loaders = {network_of(metric): LOADERS[metric] for metric in metrics}
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
    """What the metrics need to know of the real images.

    Args:
        moments: of the features, network by network.
        features: of the networks whose features a metric keeps, (N, D).
        radii: of the metrics that have such, (N,).
    """

    moments: dict[str, Moments]
    features: dict[str, Features] = field(default_factory=dict)
    radii: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many real images it is made from."""
        return next(iter(self.moments.values())).n

    @staticmethod
    def of(features: dict[str, Features], metrics: Sequence[str], how: How) -> Reference:
        """The reference for the metrics, from the real images' features."""
        radii = {metric: make(features[network_of(metric)], how) for metric in metrics if (make := KEPT[metric].radii)}
        kept = {network_of(metric) for metric in metrics if KEPT[metric].features}
        found = {name: moments(f) for name, f in features.items()}
        return Reference(found, {name: features[name] for name in kept}, radii)

    def seen_by(self, metric: str) -> Real:
        """What the metric knows of it."""
        network = network_of(metric)
        return Real(self.moments[network], self.features.get(network, NOTHING), self.radii.get(metric, NOTHING))

    def save(self, folder: Path) -> None:
        """Writes it as .npz and .npy files."""
        for name, m in self.moments.items():
            np.savez(folder / f"{name}.npz", n=m.n, mean=m.mean, covariance=m.covariance)
        for name, f in self.features.items():
            np.save(folder / f"{name}_features.npy", f.astype(np.float32))  # as the network put them out
        for metric, r in self.radii.items():
            np.save(folder / f"{metric}_radii.npy", r)

    @staticmethod
    def load(folder: Path) -> Reference:
        """What `save` wrote."""
        files = {path.stem: np.load(path) for path in folder.glob("*.npz")}
        found = {name: Moments(int(f["n"]), f["mean"], f["covariance"]) for name, f in files.items()}
        return Reference(found, *(_arrays(folder, kind) for kind in ("features", "radii")))


def _arrays(folder: Path, kind: str) -> dict[str, NDArray[np.float64]]:
    paths = folder.glob(f"*_{kind}.npy")
    return {path.stem.removesuffix(f"_{kind}"): np.load(path).astype(np.float64) for path in paths}


def distances(
    metrics: Iterable[str], features: dict[str, Features], reference: Reference, how: How
) -> dict[str, float]:
    """The figures of the metrics, of one sample set.

    Args:
        features: of the samples, network by network, (M, D).
    """
    found: dict[str, float] = {}
    for metric in metrics:
        found |= MEASURES[metric].measured(metric, features[network_of(metric)], reference.seen_by(metric), how)
    return found


def most_like_copies(
    metrics: Iterable[str], features: dict[str, Features], reference: Reference, how: How
) -> Nearest | None:
    """The samples' nearest real images by the first of the metrics that is about them; None where none is."""
    for metric in metrics:
        found = MEASURES[metric].nearest(features[network_of(metric)], reference.seen_by(metric), how)
        if found is not None:
            return found
    return None


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
    measured = [name for name in values if not (name.endswith(derived) and name.rpartition("_")[0] in MEASURES)]
    return means | {f"{name}_repeats_sd": float(np.std(values[name], ddof=1)) for name in measured}


def _digits(device: torch.device) -> Extractor:
    network = digits_classifier.load(device)

    @torch.no_grad()
    def features(images: Tensor) -> Features:
        return network.features(to_unit(images)).double().cpu().numpy()

    return features


def _inception(device: torch.device) -> Extractor:
    return inception.load(device).features


def _dinov2(device: torch.device) -> Extractor:
    return dinov2.load(device).features


LOADERS: dict[str, Callable[[torch.device], Extractor]] = {
    "fid_digits": _digits,
    "prdc_digits": _digits,
    "copies_digits": _digits,
    "fid": _inception,
    "kid": _inception,
    "prdc_inception": _inception,
    "copies_inception": _inception,
    "fd_dinov2": _dinov2,
    "prdc_dinov2": _dinov2,
    "copies_dinov2": _dinov2,
}
