"""The procedure against scipy's tests where those apply, and against simulation where it must hold its 5 %."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from results.alpha_spending import CLAIMS_FROM
from results.statistics import BASELINE_PRIOR_DF, PRIOR_DF, contrasts


def _values(*shape: int, seed: int = 0, shared: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((*shape[:-2], 1, shape[-1]))
    return np.sqrt(1 - shared) * rng.standard_normal(shape) + np.sqrt(shared) * common


@pytest.mark.parametrize("n", [3, 5, 10])
def test_of_one_variant_it_is_the_paired_t_test(n: int) -> None:
    values = _values(2, n)
    found, expected = contrasts(values), stats.ttest_rel(values[1], values[0])
    interval = expected.confidence_interval(0.95)
    assert found.difference[0] == pytest.approx(expected.statistic * found.standard_error[0])
    # The baseline's share of the variance is moderated and the variant's is not, which costs up to 1 % of df.
    assert found.p()[0] == pytest.approx(expected.pvalue, rel=0.03)
    assert 2 * found.half_width(0.05)[0] == pytest.approx(interval.high - interval.low, rel=0.03)


def test_without_moderation_and_pairing_it_is_welchs_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.statistics.PRIOR_DF", 0.0)
    monkeypatch.setattr("results.statistics.BASELINE_PRIOR_DF", 0.0)
    monkeypatch.setattr("results.statistics.PAIRING_LEVEL", 0.0)
    values = _values(4, 6)
    found = contrasts(values)
    welch = stats.ttest_ind(values[1:], values[:1], axis=-1, equal_var=False)
    assert found.df == pytest.approx(welch.df)
    assert found.p() == pytest.approx(1 - (1 - welch.pvalue) ** 3)


def test_with_a_prior_that_rules_and_seeds_as_blocks_it_has_the_block_designs_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("results.statistics.PRIOR_DF", 1e12)
    monkeypatch.setattr("results.statistics.BASELINE_PRIOR_DF", 1e12)
    monkeypatch.setattr("results.statistics.PAIRING_LEVEL", 1.0)
    values = _values(5, 4, shared=0.5)
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    error = (residual**2).sum() / (4 * 3)
    # The variants share one variance and the baseline has the mean of all: together twice the mean of all rows, less
    # what the baseline's differs from it.
    own = (residual**2).sum(axis=1) / (3 * 4 / 5)
    assert contrasts(values).standard_error == pytest.approx(np.sqrt((error + own[1:].mean()) / 4))


def test_a_variants_variance_is_its_own_and_the_common_one_weighted_by_degrees_of_freedom() -> None:
    values = _values(4, 3)
    variance = values.var(axis=1, ddof=1)
    found = contrasts(values)
    assert found.pairing == 1.0  # nothing is shared, so it is left in
    shrunk = PRIOR_DF / (PRIOR_DF + 2)
    own = BASELINE_PRIOR_DF / (BASELINE_PRIOR_DF + 2)
    baseline = (1 - own) * variance[0] + own * variance.mean()
    moderated = (1 - shrunk) * variance[1:] + shrunk * variance[1:].mean()
    assert found.standard_error == pytest.approx(np.sqrt((baseline + moderated) / 3))


def test_what_seeds_have_in_common_is_taken_out_where_it_is_seen() -> None:
    values = _values(5, 4)
    shifted = values + np.array([0.0, 100.0, -50.0, 30.0])
    assert contrasts(shifted).difference == pytest.approx(contrasts(values).difference)
    assert contrasts(shifted).pairing > 100
    assert contrasts(shifted).standard_error.max() < 3


def test_the_order_of_seeds_and_variants_and_the_unit_do_not_matter() -> None:
    values = _values(4, 5)
    found, seeds = contrasts(values), contrasts(values[:, ::-1])
    variants, unit = contrasts(values[[0, 3, 2, 1]]), contrasts(1000 * values + 7)
    assert seeds.p() == pytest.approx(found.p())
    assert variants.p()[::-1] == pytest.approx(found.p())
    assert unit.p() == pytest.approx(found.p())
    assert unit.half_width(0.05) == pytest.approx(1000 * found.half_width(0.05))


def test_only_seeds_that_both_have_are_paired_and_few_pairs_are_not_tested() -> None:
    values = _values(4, 5)
    values[1, 4] = np.nan
    values[2, 2:] = np.nan
    values[0, 0] = np.nan  # no partner for anyone
    found = contrasts(values)
    assert found.pairs.tolist() == [3, 1, 4]
    assert found.tested == 2
    assert found.difference == pytest.approx([np.nanmean(values[v, 1:] - values[0, 1:]) for v in (1, 2, 3)])
    assert np.isnan(found.p()).tolist() == [False, True, False]
    without = contrasts(values[[0, 1, 3]])
    assert without.p() == pytest.approx(found.p()[[0, 2]])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_below_three_pairs_nothing_is_claimed(n: int) -> None:
    found = contrasts(_values(3, n))
    assert n < CLAIMS_FROM
    assert np.isnan(found.p()).all()
    assert np.isnan(found.half_width(0.05)).all()
    assert np.isfinite(found.difference).all() == (n > 0)


def test_figures_without_any_spread_give_no_error() -> None:
    values = np.array([[0.0, 0, 0], [0, 0, 0], [2, 2, 2]])
    found = contrasts(values)
    assert found.difference.tolist() == [0.0, 2.0]
    assert found.p() == pytest.approx([1.0, 0.0], abs=1e-12)
    assert found.half_width(0.05) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_an_interval_excludes_zero_just_where_p_is_below_its_level() -> None:
    found = contrasts(_values(5000, 4, 3, seed=1, shared=0.3) + np.array([0.0, 1.0, 2.0, 3.0])[:, None])
    for alpha in (0.05, 0.0025):
        assert ((np.abs(found.difference) > found.half_width(alpha)) == (found.p() < alpha)).all()


def test_many_studies_at_once_are_the_same_as_each_alone() -> None:
    values = _values(7, 4, 5, shared=0.7)
    together = contrasts(values).p()
    assert together == pytest.approx(np.array([contrasts(one).p() for one in values]))


SPREADS = {"alike": (1, 1, 1, 1, 1), "one variant": (1, 3, 1, 1, 1), "baseline": (3, 1, 1, 1, 1)}


@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("n", [3, 5])
def test_of_studies_without_effect_at_most_one_in_twenty_says_anything(n: int, spread: str, shared: float) -> None:
    values = _values(8000, 5, n, seed=n, shared=shared) * np.array(SPREADS[spread])[:, None]
    said = (contrasts(values).p() < 0.05).any(axis=-1).mean()
    assert 0.005 < said < 0.05 + 3 * 0.0025  # three standard errors of the simulation


def test_at_three_seeds_it_finds_at_least_what_uncorrected_pairs_find() -> None:
    values = _values(8000, 5, 3, seed=9)
    values[:, 1] += 3
    pairs = values[:, 1] - values[:, 0]
    alone = stats.ttest_1samp(pairs, 0, axis=-1).pvalue < 0.05
    assert (contrasts(values).p()[:, 0] < 0.05).mean() > alone.mean()
