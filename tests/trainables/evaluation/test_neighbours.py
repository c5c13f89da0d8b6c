"""Precision, recall, density, coverage and copies against published packages and the words of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from prdc import compute_prdc
from scipy.spatial.distance import cdist

from trainables import data
from trainables.evaluation import digits_classifier, neighbours
from trainables.evaluation.neighbours import nearest, prdc, radii
from trainables.images import to_unit
from trainables.sections import Data

Features = NDArray[np.float64]
CPU = torch.device("cpu")


def _drawn(n: int, d: int, seed: int, shift: float = 0.0) -> Features:
    return np.random.default_rng(seed).normal(shift, 1.0, (n, d)).astype(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def digits() -> tuple[Features, Features]:
    """Of real digits on the digits' network: the reference's features, and held-out ones' with noise."""
    loaded, network = data.load(Data(image_size=16)), digits_classifier.load()
    noise = torch.randn(loaded.held_out[:250].shape, generator=torch.Generator().manual_seed(0))
    noisy = (loaded.held_out[:250] + 25 * noise).clamp(0, 255).to(torch.uint8)
    real, samples = (network.features(to_unit(i)).double().numpy() for i in (loaded.train[:400], noisy))
    return real, samples


def _all(samples: Features, real: Features, k: int) -> dict[str, float]:
    return prdc(samples, real, radii(real, k, CPU), k, CPU)


SETS = [
    (_drawn(300, 8, 0), _drawn(300, 8, 1, 0.3)),
    (_drawn(120, 64, 2), _drawn(200, 64, 3, 0.1)),
    (_drawn(500, 3, 4), _drawn(40, 3, 5, 1.0)),
    (_drawn(60, 2048, 6), _drawn(50, 2048, 7)),
]
SHAPES = ["alike", "more samples", "fewer samples", "2048 features"]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("real", "samples"), SETS, ids=SHAPES)
def test_the_four_are_those_of_the_package_prdc(real: Features, samples: Features, k: int) -> None:
    expected = compute_prdc(real, samples, nearest_k=k)
    assert _all(samples, real, k) == pytest.approx(expected, abs=1e-12)


def test_the_four_are_those_of_the_package_prdc_on_images(digits: tuple[Features, Features]) -> None:
    real, samples = digits
    found = _all(samples, real, 5)
    assert found == pytest.approx(compute_prdc(real, samples, nearest_k=5), abs=1e-12)
    assert all(0.05 < value < 0.95 for value in found.values())  # a comparison of ends would tell nothing


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("in_parts", [True, False])
def test_precision_and_recall_are_those_of_torch_fidelity(
    digits: tuple[Features, Features], k: int, in_parts: bool
) -> None:
    # It is not among what the tests need: its wheel brings a package named `tests`.
    published = pytest.importorskip("torch_fidelity.metric_prc").prc_features_to_metric
    for real, samples in [*SETS, digits]:
        a, b = torch.from_numpy(samples), torch.from_numpy(real)
        expected = published(a, b, prc_neighborhood=k, prc_batch_size=64, save_cpu_ram=in_parts, verbose=False)
        found = _all(samples, real, k)
        assert found["precision"] == pytest.approx(expected["precision"], abs=1e-7)
        assert found["recall"] == pytest.approx(expected["recall"], abs=1e-7)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("real", "samples"), SETS, ids=SHAPES)
def test_the_five_are_what_the_papers_say(real: Features, samples: Features, k: int) -> None:
    between, within, among = cdist(samples, real), cdist(real, real), cdist(samples, samples)
    of_real, of_samples = np.sort(within)[:, k], np.sort(among)[:, k]  # the first is the image itself
    m, n = range(len(samples)), range(len(real))
    balls = [sum(between[j, i] <= of_real[i] for i in n) for j in m]
    found = _all(samples, real, k)
    assert found["precision"] == pytest.approx(np.mean([ball > 0 for ball in balls]))
    assert found["density"] == pytest.approx(sum(balls) / (k * len(samples)))
    assert found["recall"] == pytest.approx(np.mean([any(between[j, i] <= of_samples[j] for j in m) for i in n]))
    assert found["coverage"] == pytest.approx(np.mean([any(between[j, i] <= of_real[i] for j in m) for i in n]))
    ratios = [np.divide(*np.sort(between[j])[:2]) for j in m]
    assert nearest(samples, real, CPU).ratio == pytest.approx(ratios)
    assert nearest(samples, real, CPU).image.tolist() == between.argmin(1).tolist()


@pytest.mark.parametrize("held", [1, 700, 2**24])
def test_how_many_distances_are_held_does_not_matter(
    digits: tuple[Features, Features], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, samples = digits
    expected, closest = _all(samples, real, 5), nearest(samples, real, CPU)
    monkeypatch.setattr(neighbours, "CHUNK", held)
    assert _all(samples, real, 5) == expected
    again = nearest(samples, real, CPU)
    assert np.array_equal(again.image, closest.image)
    assert again.ratio == pytest.approx(closest.ratio, rel=1e-9)


def test_no_more_distances_are_held_at_once_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", 1000)
    samples, real = torch.from_numpy(_drawn(70, 4, 0)), torch.from_numpy(_drawn(90, 4, 1))
    parts = list(neighbours._distances(samples, real))
    assert max(part.numel() for _, part in parts) <= 1000
    assert torch.cat([part for _, part in parts]).numpy() == pytest.approx(cdist(samples, real), abs=1e-12)


def test_the_same_distribution_is_told_from_another_and_from_a_collapsed_one() -> None:
    real, same, far = _drawn(400, 8, 0), _drawn(400, 8, 1), _drawn(400, 8, 2, 3.0)
    one_mode = real[:4].repeat(100, axis=0) + 0.01 * _drawn(400, 8, 3)
    alike, apart, collapsed = (_all(samples, real, 5) for samples in (same, far, one_mode))
    for name in alike:
        assert alike[name] > apart[name] + 0.5
    assert collapsed["precision"] > 0.95 and collapsed["recall"] < 0.1 and collapsed["coverage"] < 0.2
    assert alike["density"] == pytest.approx(1, abs=0.15)  # its expectation, Naeem et al. 2020


def test_a_planted_copy_is_found(digits: tuple[Features, Features]) -> None:
    real, samples = digits
    before, planted = nearest(samples, real, CPU), np.array([3, 77, 200])
    copied = samples.copy()
    copied[planted] = real[[5, 6, 7]]
    found = nearest(copied, real, CPU)
    assert set(found.ratio.argsort()[:3]) == set(planted)
    assert list(found.image[planted]) == [5, 6, 7]
    assert (found.ratio[planted] == 0).all() and found.ratio[np.delete(np.arange(250), planted)].min() > 0.4
    assert before.copies == 0.0
    assert found.copies == 3 / 250


@pytest.mark.parametrize(("noise", "share"), [(1e-3, 1.0), (0.3, 1.0), (30.0, 0.0)])
def test_a_sample_near_one_image_alone_is_a_copy_and_one_of_the_same_kind_is_none(noise: float, share: float) -> None:
    real = 4 * _drawn(300, 6, 0)
    assert nearest(real[:100] + noise * _drawn(100, 6, 1) / 6**0.5, real, CPU).copies == pytest.approx(share, abs=0.1)


def test_a_third_is_the_bound() -> None:
    real = np.array([[0.0, 0.0], [4.0, 0.0], [100.0, 0.0]])
    samples = np.array([[0.99, 0.0], [1.01, 0.0], [2.0, 0.0]])  # at 0.99 / 3.01, 1.01 / 2.99 and 1
    found = nearest(samples, real, CPU)
    assert found.ratio == pytest.approx([0.99 / 3.01, 1.01 / 2.99, 1.0])
    assert found.copies == pytest.approx(1 / 3)


def test_a_copy_of_an_image_that_is_twice_among_the_real_ones_is_a_copy() -> None:
    real = _drawn(20, 4, 0)
    twice = np.concatenate([real, real[:1] * (1 + 1e-7)])  # as another batch gives it
    found = nearest(np.concatenate([real[:1], real[:1] + 0.01]), twice, CPU)
    assert found.ratio[0] == 0 and found.ratio[1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("k", [0, 5, 9])
def test_as_many_neighbours_as_there_are_others_at_most(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must be from 1 to 4 for 5 images, but got {k}"):
        radii(_drawn(5, 3, 0), k, CPU)
