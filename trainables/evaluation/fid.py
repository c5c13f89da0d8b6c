"""The Frechet distance between sets of images, by clean-fid's own function on features of a fixed network.

`fid_digits` uses the small classifier that ships with this package; no other metric goes by that name.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from cleanfid.fid import frechet_distance
from numpy.typing import NDArray
from torch import Tensor

from trainables.evaluation.digits_classifier import DigitsClassifier, load
from trainables.images import to_unit

BATCH = 500  # images in one forward


class DigitsFid:
    """Scores image sets against one reference set with `fid_digits`.

    Args:
        reference: the real images, uint8 (N, 1, H, W), on the device to compute on.
    """

    def __init__(self, reference: Tensor) -> None:
        self.network = load(reference.device)
        self.mean, self.covariance = _moments(digits_features(self.network, reference))

    def __call__(self, images: Tensor) -> float:
        """The Frechet distance of `images`, uint8 (N, 1, H, W), from the reference; 0 is the same distribution.

        Source: Heusel et al. 2017 (arXiv:1706.08500), equation 6.
        """
        mean, covariance = _moments(digits_features(self.network, images))
        return float(frechet_distance(mean, covariance, self.mean, self.covariance))


@torch.no_grad()
def digits_features(network: DigitsClassifier, images: Tensor) -> NDArray[np.float64]:
    """The features of `images`, uint8 (N, 1, H, W), as (N, 64) float64."""
    return np.concatenate([f.double().cpu().numpy() for f in _batches(network, images)])


def _batches(network: DigitsClassifier, images: Tensor) -> Iterator[Tensor]:
    for batch in images.split(BATCH):
        yield network.features(to_unit(batch))


def _moments(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return features.mean(0), np.cov(features, rowvar=False)
