"""The families of metrics on features: what each keeps of the real images, and what it says of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.evaluation import neighbours
from trainables.evaluation.frechet import Moments, extrapolated, frechet_distance, kid, moments
from trainables.evaluation.neighbours import Nearest

EXTRAPOLATED = "_extrapolated"

Features = NDArray[np.float64]


@dataclass(frozen=True)
class How:
    """How sets of images are compared, beside what is in them.

    Args:
        seed: of the trial, for the subsets of `kid`.
        nearest_k: which neighbour's distance is an image's radius.
        device: that distances between images are computed on.
    """

    seed: int
    nearest_k: int
    device: torch.device


@dataclass(frozen=True)
class Real:
    """What one metric knows of the real images.

    Args:
        moments: of their features.
        features: (N, D), where the metric keeps them.
        radii: (N,), where the metric has such.
    """

    moments: Moments
    features: Features
    radii: NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """What a metric keeps of the real images beside the moments of their features.

    Args:
        features: whether all of them.
        radii: gives a radius of each image, (N,), from the features.
    """

    features: bool = False
    radii: Callable[[Features, How], NDArray[np.float64]] | None = None


def k_th_distance(real: Features, how: How) -> NDArray[np.float64]:
    """Each real image's distance to the k-th nearest other, (N,)."""
    return neighbours.radii(real, how.nearest_k, how.device)


class Measure:
    """A family of metrics that are alike but for their network."""

    def measured(self, metric: str, samples: Features, real: Real, how: How) -> Mapping[str, float]:
        """The figures of a set of samples, (M, D), by name."""
        raise NotImplementedError

    def nearest(self, samples: Features, real: Real, how: How) -> Nearest | None:
        """The samples' nearest real images, for a picture; None where the family is not about them."""
        return None


class Frechet(Measure):
    """A Frechet distance, also at half the samples, and extrapolated to infinitely many.

    Source: Heusel et al. 2017 (arXiv:1706.08500), equation 6; Chong & Forsyth 2020 (arXiv:1911.07023).
    """

    def measured(self, metric: str, samples: Features, real: Real, how: How) -> Mapping[str, float]:
        """The distance under the metric's name, and what follows from it."""
        whole = frechet_distance(moments(samples), real.moments)
        halves = [frechet_distance(moments(half), real.moments) for half in np.array_split(samples, 2)]
        half = float(np.mean(halves))
        return {metric: whole, f"{metric}_half": half, f"{metric}{EXTRAPOLATED}": extrapolated(whole, half)}


class Kernel(Measure):
    """KID. Source: Binkowski et al. 2018 (arXiv:1801.01401)."""

    def measured(self, metric: str, samples: Features, real: Real, how: How) -> Mapping[str, float]:
        """The distance under the metric's name."""
        return {metric: kid(real.features, samples, how.seed)}


class Prdc(Measure):
    """Precision, recall, density and coverage: `prdc_digits` gives `precision_digits` and so on."""

    def measured(self, metric: str, samples: Features, real: Real, how: How) -> Mapping[str, float]:
        """The four, each with the network's name."""
        found = neighbours.prdc(samples, real.features, real.radii, how.nearest_k, how.device)
        network = metric.partition("_")[2]
        return {f"{name}_{network}": value for name, value in found.items()}


class Copies(Measure):
    """The share of samples that are copies of real images."""

    def measured(self, metric: str, samples: Features, real: Real, how: How) -> Mapping[str, float]:
        """The share under the metric's name."""
        return {metric: self.nearest(samples, real, how).copies}

    def nearest(self, samples: Features, real: Real, how: How) -> Nearest:
        """The samples' nearest real images."""
        return neighbours.nearest(samples, real.features, how.device)
