"""`fid_digits` against the Frechet distance written out, and what any such distance must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables import data
from trainables.config import Data
from trainables.evaluation import digits_classifier, fid
from trainables.evaluation.fid import DigitsFid


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return data.load(Data(image_size=16)).train[:400]


@pytest.fixture(scope="module")
def held_out() -> Tensor:
    return data.load(Data(image_size=16)).held_out[:300]


@pytest.fixture(scope="module")
def distance(reference: Tensor) -> DigitsFid:
    return DigitsFid(reference)


def _noisy(images: Tensor, sd: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 255 * sd * noise).clamp(0, 255).to(torch.uint8)


def _written_out(one: Tensor, other: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), the last from the product's eigenvalues."""
    network = digits_classifier.load()
    features = [network.features(images.float() / 127.5 - 1).double().numpy() for images in (one, other)]
    (m1, m2), (s1, s2) = [f.mean(0) for f in features], [np.cov(f.T) for f in features]
    root = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root)


@pytest.mark.parametrize("sd", [0.0, 0.1, 1.0])
def test_is_the_frechet_distance_of_the_networks_features(
    distance: DigitsFid, reference: Tensor, held_out: Tensor, sd: float
) -> None:
    images = _noisy(held_out, sd)
    assert distance(images) == pytest.approx(_written_out(images, reference), rel=1e-6)


def test_reference_is_at_no_distance_from_itself(distance: DigitsFid, reference: Tensor, held_out: Tensor) -> None:
    order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(0))
    assert abs(distance(reference[order])) < 1e-3 * distance(held_out)


def test_grows_with_noise(distance: DigitsFid, held_out: Tensor) -> None:
    distances = [distance(_noisy(held_out, sd)) for sd in (0.0, 0.05, 0.1, 0.2, 0.5)]
    assert distances == sorted(distances)
    assert distances[-1] > 10 * distances[0]


def test_notices_that_a_digit_is_missing(distance: DigitsFid, held_out: Tensor) -> None:
    digits = data.load(Data(image_size=16)).held_out_masks[:300].flatten(1).amax(1) - 1
    # As many images, but nothing above 4.
    few = held_out[digits < 5]
    assert distance(few) > 2 * distance(held_out[: len(few)])


@pytest.mark.parametrize("batch", [1, 7, 299])
def test_batch_size_does_not_matter(
    distance: DigitsFid, held_out: Tensor, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = distance(held_out)
    monkeypatch.setattr(fid, "BATCH", batch)
    assert distance(held_out) == pytest.approx(expected, rel=1e-5)


def test_order_of_the_images_does_not_matter(distance: DigitsFid, held_out: Tensor) -> None:
    assert distance(held_out.flip(0)) == pytest.approx(distance(held_out), rel=1e-6)
