"""Verdicts: one procedure for interval, p and words, over looks, scales and gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from results.alpha_spending import ALPHA, Looks
from results.comparisons import CONFIRMED, DESCRIPTIVE, SUPPORTED, Column, Comparison, compared

PLAN = Looks((frozenset({0, 1, 2}),), planned=True)


def _column(values: list[list[float]], unsettled: tuple[tuple[int, int], ...] = ()) -> Column:
    array = np.array(values, dtype=np.float64)
    settled = np.ones(array.shape, dtype=bool)
    for row, seed in unsettled:
        settled[row, seed] = False
    return Column(array, settled, tuple(range(array.shape[1])))


def _compared(column: Column, looks: Looks = PLAN, log_scale: bool = False) -> list[Comparison]:
    return compared(column, looks, lower_is_better=True, log_scale=log_scale)


BASELINE, BETTER, SAME = [10.0, 11.0, 12.0], [1.0, 2.1, 2.9], [10.5, 10.7, 12.1]


def test_a_claim_of_the_planned_seeds_is_confirmed() -> None:
    better, same = _compared(_column([BASELINE, BETTER, SAME]))
    assert (better.verdict, better.level) == ("helps", CONFIRMED)
    assert better.difference == pytest.approx(-9.0)
    assert better.ci_low < -9 < better.ci_high < 0
    assert better.p < ALPHA
    assert (same.verdict, same.level) == ("inconclusive", DESCRIPTIVE)
    assert same.floor == pytest.approx((same.ci_high - same.ci_low) / 2)


def test_the_good_direction_decides_the_word() -> None:
    column = _column([BASELINE, BETTER])
    (found,) = compared(column, PLAN, lower_is_better=False, log_scale=False)
    assert found.verdict == "hurts"


def test_without_a_plan_a_claim_is_supported_at_most_and_needs_more() -> None:
    planned, unplanned = _compared(_column([BASELINE, BETTER])), _compared(_column([BASELINE, BETTER]), Looks())
    assert unplanned[0].ci_high - unplanned[0].ci_low > planned[0].ci_high - planned[0].ci_low
    assert unplanned[0].p > planned[0].p
    far = _compared(_column([[1e6 + x for x in BASELINE], BETTER]), Looks())
    assert (far[0].verdict, far[0].level) == ("helps", SUPPORTED)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[math.nan] * 3, BETTER], "no paired seeds"),
        ([BASELINE, [math.nan, math.nan, 1.0]], "one seed: no uncertainty"),
        ([BASELINE, [math.nan, 1.0, 2.0]], "two seeds: no claim"),
    ],
)
def test_few_pairs_say_so_and_claim_nothing(values: list[list[float]], said: str) -> None:
    (found,) = _compared(_column(values))
    assert (found.verdict, found.level) == (said, DESCRIPTIVE)
    assert math.isnan(found.ci_low)
    assert math.isnan(found.p)


def test_while_seeds_run_nothing_is_claimed() -> None:
    values = [[*BASELINE, 10.0], [*BETTER, math.nan]]
    looks = Looks((frozenset(range(4)),), planned=True)
    (waiting,) = _compared(_column(values, unsettled=((1, 3),)), looks)
    assert waiting.verdict == "no claim yet: 3 of 4 seeds"
    assert waiting.difference == pytest.approx(-9.0)
    (failed,) = _compared(_column(values), looks)
    assert (failed.verdict, failed.level) == ("helps", SUPPORTED)  # a seed that failed may have failed for a reason


def test_a_seed_that_was_asked_for_and_has_no_trial_yet_is_waited_for() -> None:
    looks = Looks((frozenset({0, 1, 2, 9}),), planned=True)
    (found,) = _compared(_column([BASELINE, BETTER]), looks)
    assert found.verdict == "no claim yet: 3 of 4 seeds"


def test_a_claim_of_the_plan_stands_when_more_seeds_are_looked_at() -> None:
    looks = Looks((frozenset({0, 1, 2}), frozenset(range(4))), planned=True)
    early = [[*BASELINE, 10.0], [*BETTER, 9.9]]
    (found,) = _compared(_column(early), looks)
    assert (found.verdict, found.level) == ("helps", CONFIRMED)
    assert found.ci_high < 0
    assert found.pairs == 4
    late = [[*BASELINE, 10.0], [x + 8.9 for x in BETTER] + [9.9]]
    assert _compared(_column(late), looks)[0].verdict == "inconclusive"


def test_interval_p_and_word_never_contradict_each_other() -> None:
    rng = np.random.default_rng(3)
    looks = Looks((frozenset({0, 1, 2}), frozenset(range(5))), planned=True)
    words = set()
    for _ in range(300):
        values = np.exp(rng.standard_normal((4, 5)) * 0.3 + rng.standard_normal((4, 1)))
        for found in _compared(_column(values.tolist()), looks, log_scale=True):
            excluded = not found.ci_low <= 0 <= found.ci_high
            assert excluded == (found.p <= ALPHA) == (found.verdict in ("helps", "hurts"))
            assert (found.level == DESCRIPTIVE) == (not excluded)
            words.add(found.verdict)
    assert words == {"helps", "hurts", "inconclusive"}


def test_ratios_are_compared_where_all_figures_are_positive_and_shown_in_the_metrics_unit() -> None:
    values = [[100.0, 110.0, 120.0], [50.0, 55.0, 60.0], [102.0, 108.0, 121.0]]
    halved, same = _compared(_column(values), log_scale=True)
    assert halved.difference == pytest.approx(-55.0)
    assert halved.ci_low < -55 < halved.ci_high < 0
    assert same.ci_low < same.difference < same.ci_high
    assert 0 < same.floor < same.ci_high
    plain, logs = _compared(_column(values)), _compared(_column(np.log(values).tolist()))
    assert halved.p == pytest.approx(logs[0].p)
    assert halved.p != pytest.approx(plain[0].p)
    below = _compared(_column([[-1.0, 1.0, 2.0], [0.5, 1.5, 2.5]]), log_scale=True)
    assert below == _compared(_column([[-1.0, 1.0, 2.0], [0.5, 1.5, 2.5]]))
