"""The seeds that are proposed find what they are proposed for."""

from __future__ import annotations

import numpy as np
import pytest

from results.alpha_spending import CLAIMS_FROM, PLAN_ALPHA
from results.power import MOST_SEEDS, POWER, Spread, power, seeds_needed, spread
from results.statistics import contrasts


def _spread(own: float = 1.0, shared: float = 0.0) -> Spread:
    return Spread(10.0, own, shared, 8, log_scale=False)


def _simulated(known: Spread, difference: float, seeds: int, variants: int) -> float:
    """The power by another generator's draws: the interval leaves out 0, on the right side."""
    rng = np.random.default_rng(77)
    shape = (3000, 1 + variants, seeds)
    values = 10 + known.own * rng.standard_normal(shape) + known.shared * rng.standard_normal((3000, 1, seeds))
    values[:, variants] -= difference
    found = contrasts(values)
    return float((found.difference + found.half_width(PLAN_ALPHA) < 0)[:, variants - 1].mean())


@pytest.mark.parametrize(
    ("difference", "variants", "shared"), [(3.0, 4, 0.0), (1.5, 4, 1.0), (1.2, 1, 0.5), (2.0, 8, 0.0)]
)
def test_the_proposed_seeds_have_the_power_within_five_points_and_fewer_have_not(
    difference: float, variants: int, shared: float
) -> None:
    known = _spread(shared=shared)
    needed = seeds_needed(known, difference, variants)
    assert needed is not None
    found = _simulated(known, difference, needed, variants)
    assert found == pytest.approx(power(known, difference, needed, variants), abs=0.05)
    assert found > POWER - 0.05
    if needed > CLAIMS_FROM:
        assert _simulated(known, difference, needed - 1, variants) < POWER + 0.05


def test_what_no_hundred_seeds_find_has_no_number() -> None:
    assert seeds_needed(_spread(), 0.05, 4) is None
    assert seeds_needed(_spread(), 100.0, 4) == CLAIMS_FROM
    assert power(_spread(), 100.0, 2, 4) == 0.0
    assert MOST_SEEDS == 100


def test_a_spread_is_taken_apart_into_what_seeds_share_and_what_they_do_not() -> None:
    rng = np.random.default_rng(5)
    values = 50 + 2 * rng.standard_normal((6, 400)) + 3 * rng.standard_normal((1, 400))
    found = spread(values, log_scale=False)
    assert found is not None
    assert (found.own, found.shared) == (pytest.approx(2, rel=0.05), pytest.approx(3, rel=0.1))
    assert found.df == 5 * 399
    assert found.of(0.02) == pytest.approx(1.0, rel=0.02)
    logs = spread(values, log_scale=True)
    assert logs is not None
    assert logs.own == pytest.approx(2 / 50, rel=0.1)
    assert logs.of(0.02) == pytest.approx(np.log(1.02))


def test_without_two_seeds_of_two_rows_no_spread_is_known() -> None:
    values = np.array([[1.0, 2.0, np.nan], [np.nan, 3.0, 4.0], [np.nan, np.nan, np.nan]])
    assert spread(values, log_scale=False) is None
    values[0, 2] = 5.0
    found = spread(values, log_scale=False)  # a row without figures takes nothing from the others
    assert found is not None
    assert found.df == 1
