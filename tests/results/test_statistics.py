"""The statistics against scipy's own, against brute force, and against the figures that the docstring promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results.statistics import (
    EXACT_UP_TO,
    NO_PAIRS,
    ONE_SEED,
    TESTABLE_FROM,
    Comparison,
    compare,
    holm,
    paired_differences,
    sign_flip_p,
    t_interval,
    verdict,
)


def _differences(n: int, mean: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, n)


def test_only_seeds_that_both_have_are_paired_and_by_seed_not_by_order() -> None:
    variant = pd.Series({2: 12.0, 0: 10.0, 5: 99.0})
    baseline = pd.Series({0: 1.0, 1: 77.0, 2: 2.0})
    assert paired_differences(variant, baseline).tolist() == [9.0, 10.0]


def test_a_repeated_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 0\]"):
        paired_differences(pd.Series([1.0, 2.0], index=[0, 0]), pd.Series({0: 1.0}))


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_interval_is_that_of_the_paired_t_test(n: int, confidence: float) -> None:
    baseline, variant = _differences(n, seed=1), _differences(n, seed=2)
    expected = stats.ttest_rel(variant, baseline).confidence_interval(confidence)
    assert t_interval(variant - baseline, confidence) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("n", "half_width"), [(3, 2.48), (5, 1.24), (6, 1.05), (10, 0.72)])
def test_half_width_in_sd_of_differences_is_the_documented_one(n: int, half_width: float) -> None:
    differences = _differences(n)
    low, high = t_interval(differences)
    assert (high - low) / 2 / differences.std(ddof=1) == pytest.approx(half_width, abs=0.005)


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.25), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_smallest_sign_flip_p_is_the_documented_one(n: int, smallest: float) -> None:
    assert sign_flip_p(np.arange(1.0, n + 1)) == smallest


def test_p_can_be_below_5_percent_from_testable_from_on_and_not_before() -> None:
    assert sign_flip_p(np.ones(TESTABLE_FROM)) < 0.05 < sign_flip_p(np.ones(TESTABLE_FROM - 1))


@pytest.mark.parametrize("n", [2, 3, 6, 10])
@pytest.mark.parametrize("seed", range(3))
def test_sign_flip_p_is_scipys_exact_permutation_test(n: int, seed: int) -> None:
    differences = _differences(n, seed=seed)
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences) == pytest.approx(expected.pvalue, abs=1e-12)


def test_sign_patterns_with_the_observed_sum_count_as_ties_in_spite_of_rounding() -> None:
    # 0.1 + 0.2 is not 0.3 in binary, so (-0.1, -0.2, 0.3) and (0.1, 0.2, -0.3) and their like differ in the last bits.
    differences = np.array([0.1, 0.2, 0.3, -0.3])
    exact = [1, 2, 3, -3]
    flips = [sum(s * d for s, d in zip(signs, exact, strict=True)) for signs in itertools.product((1, -1), repeat=4)]
    assert sign_flip_p(differences) == np.mean([abs(total) >= 3 for total in flips])


def test_p_is_exact_up_to_16_pairs() -> None:
    assert sign_flip_p(np.arange(1.0, 17)) == 2 / 2**16
    assert sign_flip_p(np.arange(1.0, 18)) == pytest.approx(stats.ttest_1samp(np.arange(1.0, 18), 0).pvalue)


def test_beyond_the_exact_range_p_is_the_paired_t_tests() -> None:
    differences = _differences(EXACT_UP_TO + 1)
    assert sign_flip_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert sign_flip_p(np.zeros(EXACT_UP_TO + 1)) == 1.0
    assert sign_flip_p(np.full(EXACT_UP_TO + 1, 2.0)) == 0.0


def test_holm_on_an_example_by_hand() -> None:
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 -> not below the one before it, 0.04 x 1 likewise.
    assert holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_leaves_out_what_was_not_tested_and_stops_at_1() -> None:
    corrected = holm([math.nan, 0.6, 0.01, 0.7])
    assert math.isnan(corrected[0])
    assert corrected[1:].tolist() == pytest.approx([1.0, 0.03, 1.0])
    assert holm([]).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed: int) -> None:
    p = np.random.default_rng(seed).uniform(0, 0.06, 8)
    rejected = set()
    for i, index in enumerate(np.argsort(p)):  # Holm 1979 as a procedure: stop at the first that is not rejected
        if p[index] > 0.05 / (len(p) - i):
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(holm(p) <= 0.05).tolist()) == rejected


@pytest.mark.parametrize(
    ("differences", "lower_is_better", "expected"),
    [
        ([-5.0, -5.1, -4.9], True, "helps"),
        ([-5.0, -5.1, -4.9], False, "hurts"),
        ([5.0, 5.1, 4.9], True, "hurts"),
        ([5.0, 5.1, 4.9], False, "helps"),
        ([-5.0, 5.0, 1.0], True, "inconclusive"),
        ([0.0, 0.0, 0.0], True, "inconclusive"),
        ([-5.0], True, ONE_SEED),
        ([], True, NO_PAIRS),
    ],
)
def test_verdicts(differences: list[float], lower_is_better: bool, expected: str) -> None:
    assert verdict(compare(np.array(differences)), lower_is_better) == expected


@pytest.mark.filterwarnings("error")
def test_compare_gives_nothing_that_its_pairs_do_not_allow() -> None:
    none, one = compare(np.array([])), compare(np.array([2.5]))
    assert none.pairs == 0
    assert all(math.isnan(value) for value in (none.difference, none.ci_low, none.ci_high, none.p))
    assert (one.pairs, one.difference) == (1, 2.5)
    assert all(math.isnan(value) for value in (one.ci_low, one.ci_high, one.p))


def test_compare_is_the_mean_its_interval_and_its_p() -> None:
    differences = _differences(6)
    low, high = t_interval(differences)
    assert compare(differences) == Comparison(6, differences.mean(), low, high, sign_flip_p(differences))
