"""The Frechet distance and KID against clean-fid's own functions, and what any such distance must do."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest
from cleanfid.fid import frechet_distance as clean_fids_frechet
from cleanfid.fid import kernel_distance
from numpy.typing import NDArray

from trainables.evaluation.frechet import Moments, extrapolated, frechet_distance, kid, moments
from trainables.randomness import derived_seed

D = 60
Features = NDArray[np.float64]


def _features(n: int, seed: int, shift: float = 0.0, decay: float = 1.0) -> Features:
    """Correlated features, not Gaussian, their standard deviations over `decay` decades."""
    mixing = np.random.default_rng(99).normal(size=(D, D)) * 10 ** -np.linspace(0, decay, D)
    return np.maximum(np.random.default_rng(seed).normal(size=(n, D)) @ mixing.T + shift, -1.0)


def _clean_fids(a: Moments, b: Moments) -> float:
    return float(clean_fids_frechet(a.mean, a.covariance, b.mean, b.covariance))


def _dead(features: Features) -> Features:
    """With features that never change and others that are copies."""
    features = features.copy()
    features[:, :10] = 0.25
    features[:, 10:20] = features[:, 20:30]
    return features


def test_moments_are_numpys() -> None:
    features = _features(100, seed=0).astype(np.float32)
    found = moments(features)
    assert found.n == 100
    assert found.mean.dtype == found.covariance.dtype == np.float64
    assert np.allclose(found.mean, features.astype(np.float64).mean(0), rtol=1e-12, atol=0)
    assert np.allclose(found.covariance, np.cov(features, rowvar=False), rtol=0, atol=1e-12)


def test_mean_of_many_float32_features_is_exact() -> None:
    found = moments(np.full((300_000, 1), 0.1, dtype=np.float32))
    assert found.mean[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("n", [2, D, D + 1])
def test_covariance_of_too_few_images_is_called_singular(n: int) -> None:
    found = moments(np.random.default_rng(0).normal(size=(n, D)))
    assert found.singular == (np.linalg.matrix_rank(found.covariance) < D)


@pytest.mark.parametrize(
    "features",
    [np.zeros((1, D)), np.zeros(D), np.full((5, D), np.nan), np.full((5, D), np.inf)],
    ids=["one image", "no images", "nan", "inf"],
)
def test_features_without_moments_are_refused(features: Features) -> None:
    with pytest.raises(ValueError, match="features must be"):
        moments(features)


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.5, 2.0])
def test_distance_is_clean_fids(shift: float, decay: float) -> None:
    a, b = moments(_features(1000, 0, decay=decay)), moments(_features(700, 1, shift, decay))
    assert frechet_distance(a, b) == pytest.approx(_clean_fids(a, b), rel=1e-9)


@pytest.mark.parametrize("n", [2, 20, D])
def test_distance_of_too_few_images_is_clean_fids(n: int) -> None:
    a, b = moments(_features(1000, 0)), moments(_features(n, 1, 0.1))
    # Clean-fid takes the root of a singular matrix, which is only good to the root of the rounding.
    assert frechet_distance(a, b) == pytest.approx(_clean_fids(a, b), rel=1e-6)
    c = moments(_features(n, 2))
    assert frechet_distance(c, b) == pytest.approx(_clean_fids(c, b), rel=1e-6)


def test_distance_with_dead_features_is_that_without_them() -> None:
    a, b = _features(1000, 0), _features(700, 1, 0.1)
    alive = frechet_distance(moments(a[:, 10:]), moments(b[:, 10:]))
    for features in (a, b):
        features[:, :10] = 0.25
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(alive, rel=1e-12)


def test_distance_of_singular_covariances_has_its_closed_form() -> None:
    """S = B diag(s) B^T for both, of rank 20 and 30 in the same basis: sum (sqrt(s_a) - sqrt(s_b))^2."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
    draw = np.random.default_rng(1)
    spectra = [np.where(np.arange(D) < rank, draw.uniform(0.1, 10, D), 0.0) for rank in (20, 30)]
    a, b = (Moments(D, np.zeros(D), (basis * s) @ basis.T) for s in spectra)
    expected = ((np.sqrt(spectra[0]) - np.sqrt(spectra[1])) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("change", [lambda f: f, _dead, lambda f: f[:20]], ids=["regular", "dead", "few images"])
@pytest.mark.parametrize("decay", [0.5, 6.0])
def test_equal_moments_are_at_no_distance(change: Callable[[Features], Features], decay: float) -> None:
    a = moments(change(_features(1000, 0, decay=decay)))
    assert abs(frechet_distance(a, a)) < 1e-9 * np.trace(a.covariance)


def test_distance_of_shifted_features_is_the_shifts_length_squared() -> None:
    features = _features(500, 0)
    shift = np.linspace(0, 1, D)
    assert frechet_distance(moments(features), moments(features + shift)) == pytest.approx(shift @ shift, rel=1e-9)


def test_distance_to_a_constant_is_the_trace() -> None:
    a, constant = moments(_features(500, 0)), moments(np.zeros((10, D)))
    expected = a.mean @ a.mean + np.trace(a.covariance)
    assert frechet_distance(a, constant) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(constant, constant) == 0.0


@pytest.mark.parametrize("n", [30, 500])
def test_distance_is_symmetric_positive_the_same_again_and_free_of_the_basis(n: int) -> None:
    one, other = _features(n, 0), _features(400, 1, 0.2)
    expected = frechet_distance(moments(one), moments(other))
    assert expected > 0
    assert frechet_distance(moments(one), moments(other)) == expected
    assert frechet_distance(moments(other), moments(one)) == pytest.approx(expected, rel=1e-12)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
    assert frechet_distance(moments(one @ turn), moments(other @ turn)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "m", "subset_size"), [(300, 300, 100), (300, 120, 1000), (80, 200, 100), (50, 50, 1000), (2, 3, 1000)]
)
def test_kid_is_clean_fids_on_the_same_subsets(
    n: int, m: int, subset_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, generated = _features(n, 0), _features(m, 1, 0.2)
    found = kid(real, generated, seed=3, subsets=10, subset_size=subset_size)
    monkeypatch.setattr(np.random, "choice", np.random.default_rng(derived_seed(3, "kid")).choice)
    expected = kernel_distance(real, generated, num_subsets=10, max_subset_size=subset_size)
    assert found == pytest.approx(expected, rel=1e-9)


def test_kids_subsets_are_as_many_and_as_large_as_clean_fids() -> None:
    ours, theirs = (inspect.signature(distance).parameters for distance in (kid, kernel_distance))
    for mine, clean_fids in (("subsets", "num_subsets"), ("subset_size", "max_subset_size")):
        assert ours[mine].default == theirs[clean_fids].default


def test_kid_depends_on_the_seed_alone_and_disturbs_no_generator() -> None:
    real, generated = _features(300, 0), _features(300, 1, 0.2)
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    first = kid(real, generated, seed=0, subsets=5, subset_size=50)
    assert np.random.rand() == expected
    assert kid(real, generated, seed=0, subsets=5, subset_size=50) == first
    assert kid(real, generated, seed=1, subsets=5, subset_size=50) != first


def test_kid_is_around_zero_for_one_distribution_and_grows() -> None:
    real = _features(2000, 0)
    same, far, further = (kid(real, _features(2000, 1, shift), 0, 20, 500) for shift in (0.0, 0.3, 0.6))
    assert abs(same) < 0.05 * far
    assert 0 < far < further
    # Unbiased: of many small sets of the same distribution, some are below zero.
    small = [kid(real[i : i + 20], real[i + 20 : i + 40], 0) for i in range(0, 2000, 40)]
    assert min(small) < 0 < max(small)
    assert abs(np.mean(small)) < 3 * np.std(small) / len(small) ** 0.5


def test_kid_of_float32_is_computed_in_float64() -> None:
    real, generated = (_features(200, seed).astype(np.float32) for seed in (0, 1))
    expected = kid(real.astype(np.float64), generated.astype(np.float64), 0, 5, 100)
    assert kid(real, generated, 0, 5, 100) == expected


@pytest.mark.parametrize(("n", "m"), [(1, 10), (10, 1), (0, 0)])
def test_kid_of_fewer_than_two_images_is_refused(n: int, m: int) -> None:
    with pytest.raises(ValueError, match="at least 2 images"):
        kid(np.zeros((n, D)), np.zeros((m, D)), 0)


@pytest.mark.parametrize(("limit", "slope", "n"), [(12.0, 3e4, 5000), (0.5, -2.0, 10)])
def test_extrapolation_is_the_limit_of_a_line_in_one_over_n(limit: float, slope: float, n: int) -> None:
    assert extrapolated(limit + slope / n, limit + 2 * slope / n) == pytest.approx(limit)


def test_extrapolation_takes_most_of_the_bias_away() -> None:
    """The true distance is 0, and both sets are finite: the whole figure is bias."""
    draw = np.random.default_rng(0)
    real = Moments(10**9, np.zeros(D), np.eye(D))
    whole = draw.normal(size=(1000, D))
    value_n, value_half = (frechet_distance(moments(f), real) for f in (whole, whole[:500]))
    assert value_n > 0.5
    assert abs(extrapolated(value_n, value_half)) < 0.2 * value_n
