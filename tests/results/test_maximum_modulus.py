"""The studentised maximum modulus, beside Student's t and other code."""

import numpy as np
import pytest
from scipy import stats

from results.maximum_modulus import exceeded, quantile


@pytest.mark.parametrize("df", [1, 3, 10, 40])
@pytest.mark.parametrize("value", [0.0, 0.5, 2.0, 6.0, 20.0])
def test_of_one_it_is_students_t(value, df):
    assert exceeded(value, 1, df) == pytest.approx(2 * stats.t.sf(value, df), rel=1e-6)
    assert quantile(0.95, 1, df) == pytest.approx(stats.t.isf(0.025, df))


@pytest.mark.parametrize(("m", "df"), [(2, 3), (3, 10), (6, 5), (10, 20)])
def test_of_many_it_is_the_box_of_a_multivariate_t(m, df):
    for value in (1.0, 2.5, 5.0):
        box = stats.multivariate_t(shape=np.eye(m), df=df, seed=0).cdf(
            np.full(m, value), lower_limit=np.full(m, -value)
        )
        assert exceeded(value, m, df) == pytest.approx(1 - box, abs=1e-3)


@pytest.mark.parametrize(("m", "df"), [(1, 1), (3, 5), (6, 10), (10, 20), (50, 2)])
def test_the_quantile_is_where_5_percent_are_above(m, df):
    assert exceeded(quantile(0.95, m, df), m, df) == pytest.approx(0.05, abs=1e-8)


def test_it_is_narrower_than_sidak_and_bonferroni():
    sidak = stats.t.isf((1 - 0.95 ** (1 / 10)) / 2, 5)
    assert stats.t.isf(0.025, 5) < quantile(0.95, 10, 5) < sidak < stats.t.isf(0.0025, 5)
