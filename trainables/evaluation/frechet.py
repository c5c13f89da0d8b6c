"""Distances between two sets of features: Frechet's on their moments, and KID. All of it in float64.

N images, D features of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf

from trainables.randomness import derived_seed

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What the Frechet distance knows of a set of features.

    Args:
        n: images.
        mean: (D,).
        covariance: (D, D), with the divisor n - 1.
    """

    n: int
    mean: Array
    covariance: Array

    @property
    def singular(self) -> bool:
        """Whether there are too few images for a covariance of full rank: the distance is then no more than a test."""
        return self.n <= len(self.mean)


def moments(features: NDArray[np.floating]) -> Moments:
    """The moments of features, (N, D), N at least 2.

    Raises:
        ValueError: fewer than two images, or a feature that is not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (N, D) of at least 2 images, but got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    features = features.astype(np.float64)
    mean = features.mean(0)
    centred = features - mean
    return Moments(len(features), mean, centred.T @ centred / (len(features) - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2)); 0 is the same distribution.

    With S = L L^T, S_a S_b has the eigenvalues of (L_a^T L_b)(L_a^T L_b)^T besides zeros. So no root of a matrix is
    taken, and singular covariances need no offset on their diagonals.

    Source: Heusel et al. 2017 (arXiv:1706.08500), equation 6.
    """
    product = _factor(a.covariance).T @ _factor(b.covariance)
    if product.shape[0] > product.shape[1]:
        product = product.T
    eigenvalues = torch.linalg.eigvalsh(torch.from_numpy(product @ product.T))
    root = float(eigenvalues.clamp(min=0).sqrt().sum())
    offset = a.mean - b.mean
    distance = float(offset @ offset + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root)
    return max(0.0, distance)  # below zero is what rounding leaves of it


def _factor(covariance: Array) -> Array:
    """L with L L^T = covariance, (D, rank): Cholesky's, the largest pivot first, ended where only rounding is left."""
    factor, order, rank, _ = dpstrf(covariance, lower=1)
    sorted_back = np.zeros((len(covariance), rank))
    sorted_back[order - 1] = np.tril(factor[:, :rank])
    return sorted_back


def kid(
    real: NDArray[np.floating], generated: NDArray[np.floating], seed: int, subsets: int = 100, subset_size: int = 1000
) -> float:
    """The kernel distance of two sets of features, by clean-fid's definition; around 0, also below, for the same.

    It is the mean over random subsets of the unbiased MMD^2 with the kernel (x y / D + 1)^3. A set smaller than
    `subset_size` sets the size of all.

    Args:
        real: (N, D).
        generated: (M, D).
        seed: of the trial, for the subsets.
        subsets: how many.
        subset_size: images of each set in one.

    Raises:
        ValueError: fewer than two images.

    Source: Binkowski et al. 2018 (arXiv:1801.01401).
    """
    size = min(len(real), len(generated), subset_size)
    if size < 2:
        raise ValueError(f"KID needs at least 2 images of each set, but got {len(real)}, {len(generated)}")
    if size == len(real) == len(generated):
        subsets = 1  # each would hold all images
    draw = np.random.default_rng(derived_seed(seed, "kid"))
    total = 0.0
    for _ in range(subsets):
        x = generated[draw.choice(len(generated), size, replace=False)]
        y = real[draw.choice(len(real), size, replace=False)]
        total += _mmd(x.astype(np.float64), y.astype(np.float64))
    return total / subsets


def _mmd(x: Array, y: Array) -> float:
    """The unbiased estimate of MMD^2 of two sets of the same size."""
    size = len(x)
    within = sum(k.sum() - np.trace(k) for k in (_kernel(x, x), _kernel(y, y)))
    return float(within / (size * (size - 1)) - 2 * _kernel(x, y).mean())


def _kernel(x: Array, y: Array) -> Array:
    k = x @ y.T / x.shape[1] + 1
    return k * k * k


def extrapolated(value_n: float, value_half: float) -> float:
    """The value for infinitely many images, from those for N and N/2 images: linear in 1/N; it may fall below zero.

    Source: Chong & Forsyth 2020 (arXiv:1911.07023).
    """
    return 2 * value_n - value_half
