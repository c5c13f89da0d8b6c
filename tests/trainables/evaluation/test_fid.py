"""`fid_digits` against the Frechet distance written out, and what any such distance must do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance as clean_fids
from cleanfid.fid import kernel_distance
from numpy.typing import NDArray
from torch import Tensor

from trainables import data
from trainables.evaluation import digits_classifier, fid, inception
from trainables.evaluation.fid import Reference
from trainables.evaluation.frechet import kid
from trainables.evaluation.measures import How
from trainables.evaluation.neighbours import nearest, prdc, radii
from trainables.sections import FID_METRICS, Data, Fid


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return data.load(Data(image_size=16)).train[:400]


@pytest.fixture(scope="module")
def held_out() -> Tensor:
    return data.load(Data(image_size=16)).held_out[:300]


Distance = Callable[[Tensor], float]
METRICS = ("fid_digits",)
CPU = torch.device("cpu")
HOW = How(seed=0, nearest_k=5, device=CPU)


def _features(images: Tensor, metrics: tuple[str, ...] = METRICS) -> dict[str, NDArray[np.float64]]:
    making, done = fid.extracted(fid.extractors(metrics, CPU), images), 0
    while True:
        try:
            done = next(making)
        except StopIteration as end:
            assert done == len(images)
            return end.value


@pytest.fixture(scope="module")
def distance(reference: Tensor) -> Callable[[Tensor], float]:
    """The distance of a set of images from the reference."""
    real = Reference.of(_features(reference), METRICS, HOW)
    return lambda images: fid.distances(METRICS, _features(images), real, HOW)["fid_digits"]


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
    distance: Distance, reference: Tensor, held_out: Tensor, sd: float
) -> None:
    images = _noisy(held_out, sd)
    assert distance(images) == pytest.approx(_written_out(images, reference), rel=1e-6)


def test_is_clean_fids_distance(distance: Distance, reference: Tensor, held_out: Tensor) -> None:
    (real,), (found,) = (_features(images).values() for images in (reference, held_out))
    expected = clean_fids(found.mean(0), np.cov(found.T), real.mean(0), np.cov(real.T))
    assert distance(held_out) == pytest.approx(expected, rel=1e-6)


def test_half_is_the_mean_over_both_halves_and_what_is_extrapolated_lies_on_the_line(
    distance: Distance, reference: Tensor, held_out: Tensor
) -> None:
    real = Reference.of(_features(reference), METRICS, HOW)
    found = fid.distances(METRICS, _features(held_out), real, HOW)
    half = (distance(held_out[:150]) + distance(held_out[150:])) / 2
    assert found["fid_digits_half"] == pytest.approx(half)
    assert half > found["fid_digits"]  # fewer images, a larger distance: the bias that is extrapolated away
    # Linear in 1/N through (1/150, half) and (1/300, whole), at 1/N = 0.
    assert found["fid_digits_extrapolated"] == pytest.approx(2 * found["fid_digits"] - half)


@pytest.mark.parametrize("kept", [(), ("digits",)])
def test_reference_comes_back_as_it_was_saved(reference: Tensor, tmp_path: Path, kept: tuple[str, ...]) -> None:
    features = _features(reference)
    real = Reference(Reference.of(features, METRICS, HOW).moments, {name: features[name] for name in kept})
    real.save(tmp_path)
    again = Reference.load(tmp_path)
    assert again.moments["digits"].n == 400
    assert np.array_equal(again.moments["digits"].covariance, real.moments["digits"].covariance)
    assert set(again.features) == set(kept)
    for name in kept:
        assert np.array_equal(again.features[name], features[name])


def test_reference_is_at_no_distance_from_itself(distance: Distance, reference: Tensor, held_out: Tensor) -> None:
    order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(0))
    assert abs(distance(reference[order])) < 1e-3 * distance(held_out)


def test_grows_with_noise(distance: Distance, held_out: Tensor) -> None:
    distances = [distance(_noisy(held_out, sd)) for sd in (0.0, 0.05, 0.1, 0.2, 0.5)]
    assert distances == sorted(distances)
    assert distances[-1] > 10 * distances[0]


def test_notices_that_a_digit_is_missing(distance: Distance, held_out: Tensor) -> None:
    digits = data.load(Data(image_size=16)).held_out_masks[:300].flatten(1).amax(1) - 1
    # As many images, but nothing above 4.
    few = held_out[digits < 5]
    assert distance(few) > 2 * distance(held_out[: len(few)])


@pytest.mark.parametrize("batch", [1, 7, 299])
def test_batch_size_does_not_matter(
    distance: Distance, held_out: Tensor, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = distance(held_out)
    monkeypatch.setattr(fid, "BATCH", batch)
    assert distance(held_out) == pytest.approx(expected, rel=1e-5)


def test_order_of_the_images_does_not_matter(distance: Distance, held_out: Tensor) -> None:
    assert distance(held_out.flip(0)) == pytest.approx(distance(held_out), rel=1e-6)


def _of_each_network(n: int, seed: int, shift: float = 0.0) -> dict[str, NDArray[np.float64]]:
    """Features of n images; no network's are another's."""
    draw = np.random.default_rng(seed)
    return {
        name: draw.normal(shift, scale, size=(n, 12)).astype(np.float32).astype(np.float64)
        for name, scale in (("digits", 1.0), ("inception", 3.0), ("dinov2", 2.0))
    }


def test_fid_and_kid_are_clean_fids_on_the_inceptions_features_and_fid_digits_on_the_digits_own() -> None:
    metrics = ("kid", "fid_digits", "fid")
    real, found = _of_each_network(400, 0), _of_each_network(400, 1, shift=0.5)
    distances = fid.distances(metrics, found, Reference.of(real, metrics, HOW), HOW)
    for name, network in (("fid", "inception"), ("fid_digits", "digits")):
        (one, other) = found[network], real[network]
        expected = clean_fids(one.mean(0), np.cov(one.T), other.mean(0), np.cov(other.T))
        assert distances[name] == pytest.approx(expected, rel=1e-6)
    # Of two sets of one size below a subset's all images are in each subset.
    expected = kernel_distance(real["inception"], found["inception"], num_subsets=1, max_subset_size=400)
    assert distances["kid"] == pytest.approx(expected, rel=1e-9)
    assert distances["kid"] > 0.01


def test_kid_takes_the_subsets_of_the_trials_seed() -> None:
    real, found = _of_each_network(400, 0), _of_each_network(300, 1, shift=0.5)
    reference = Reference.of(real, ("kid",), HOW)
    first, again, other = (
        fid.distances(("kid",), found, reference, replace(HOW, seed=seed))["kid"] for seed in (3, 3, 4)
    )
    assert first == again == kid(real["inception"], found["inception"], 3)
    assert first != other


@pytest.mark.parametrize(
    ("metrics", "kept"), [(("fid_digits", "fid"), set()), (("kid",), {"inception"}), (("fid", "kid"), {"inception"})]
)
def test_reference_keeps_the_features_that_kid_compares_and_no_others(metrics: tuple[str, ...], kept: set[str]) -> None:
    real = _of_each_network(50, 0)
    reference = Reference.of(real, metrics, HOW)
    assert reference.features.keys() == kept
    assert reference.moments.keys() == real.keys()
    assert reference.radii == {}


def test_prdc_and_copies_are_each_networks_own(tmp_path: Path) -> None:
    metrics = ("prdc_digits", "copies_inception", "prdc_inception")
    real, found = _of_each_network(200, 0), _of_each_network(150, 1, shift=0.2)
    found["inception"][:2] = real["inception"][:2]
    how = replace(HOW, nearest_k=3)
    Reference.of(real, metrics, how).save(tmp_path)
    reference = Reference.load(tmp_path)
    assert reference.radii.keys() == {"prdc_digits", "prdc_inception"}
    figures = fid.distances(metrics, found, reference, how)
    for network in ("digits", "inception"):
        expected = prdc(found[network], real[network], radii(real[network], 3, CPU), 3, CPU)
        assert {name: figures.pop(f"{name}_{network}") for name in expected} == expected
    closest = nearest(found["inception"], real["inception"], CPU)
    assert figures == {"copies_inception": 2 / 150}
    shown = fid.most_like_copies(metrics, found, reference, how)
    assert shown is not None and np.array_equal(shown.image, closest.image)
    assert fid.most_like_copies(("prdc_digits", "fid_digits"), found, Reference.of(real, metrics, how), how) is None


def test_sections_tell_each_metrics_network_and_figures_as_they_are_measured() -> None:
    assert list(fid.KEPT) == list(fid.MEASURES) == list(fid.LOADERS)
    assert set(fid.MEASURES) == set(FID_METRICS)
    real, found = _of_each_network(60, 0), _of_each_network(60, 1)
    for metric in fid.MEASURES:
        section = Fid(metrics=(metric,))
        assert section.networks == {fid.network_of(metric)}
        measured = fid.distances((metric,), found, Reference.of(real, (metric,), HOW), HOW)
        assert [name for name in measured if not name.endswith(("_half", "_extrapolated"))] == list(section.figures)


@pytest.mark.parametrize(
    ("metrics", "networks"),
    [
        (("fid_digits",), {"digits"}),
        (("fid",), {"inception"}),
        (("kid",), {"inception"}),
        (("prdc_inception",), {"inception"}),
        (("copies_digits",), {"digits"}),
        (("fid", "kid", "fid_digits"), {"inception", "digits"}),
    ],
)
def test_each_metric_is_measured_by_the_network_that_its_name_says(
    metrics: tuple[str, ...], networks: set[str], held_out: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Published:
        def features(self, images: Tensor) -> NDArray[np.float64]:
            return np.full((len(images), 2048), 0.5)

    monkeypatch.setattr(inception, "load", lambda device: Published())
    found = _features(held_out[:4], metrics)
    assert found.keys() == networks
    for name, features in found.items():
        assert features.shape == (4, {"digits": 64, "inception": 2048}[name])
        assert (features == 0.5).all() == (name == "inception")
