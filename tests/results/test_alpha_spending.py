"""What a study's looks spend, and which of them was planned."""

from __future__ import annotations

import numpy as np
import pytest

from results.alpha_spending import ALPHA, PLAN_ALPHA, Looks, from_text
from results.statistics import contrasts


def test_fewer_than_three_seeds_are_no_look() -> None:
    assert Looks().after([0], []) == Looks()
    assert Looks().after([0, 1], [0]) == Looks()


def test_what_is_asked_for_before_there_are_results_is_the_plan() -> None:
    looks = Looks().after([0, 1, 2], [])
    assert (looks.planned, looks.seeds) == (True, (frozenset({0, 1, 2}),))
    assert Looks().after([0, 1, 2], [0]) == looks  # of one seed nothing could be claimed
    assert not Looks().after([0, 1, 2], [3, 4, 5]).planned


def test_the_same_or_fewer_seeds_are_no_further_look() -> None:
    looks = Looks().after([0, 1, 2], [])
    assert looks.after([0, 1, 2], [0, 1, 2]) is looks
    assert looks.after([1], [0, 1, 2]) is looks


def test_more_seeds_are_a_further_look_at_all_that_there_are() -> None:
    looks = Looks().after([0, 1, 2], []).after([3, 4], [0, 1, 2])
    assert looks.planned
    assert looks.seeds[1] == frozenset(range(5))


@pytest.mark.parametrize("planned", [True, False])
def test_all_looks_together_spend_at_most_all(planned: bool) -> None:
    looks = Looks(tuple(frozenset(range(n)) for n in range(3, 40)), planned)
    spent = [look.alpha for look in looks]
    assert sum(spent) <= ALPHA
    assert spent == sorted(spent, reverse=True)
    assert (spent[0] == PLAN_ALPHA) == planned
    assert [look.planned for look in looks] == [planned] + [False] * 36


def test_a_tag_tells_the_looks() -> None:
    looks = Looks().after([2, 0, 1], []).after([3], [0, 1, 2])
    assert from_text(looks.as_text()) == looks
    assert from_text("") == Looks()


def test_of_studies_without_effect_looked_at_after_each_seed_at_most_one_in_twenty_ever_says_anything() -> None:
    values = np.random.default_rng(0).standard_normal((4000, 5, 8))
    ever, always = np.zeros(4000, dtype=bool), np.zeros(4000, dtype=bool)
    for look in Looks(tuple(frozenset(range(n)) for n in range(3, 9)), planned=True):
        p = contrasts(values[..., : len(look.seeds)]).p().min(axis=-1)
        ever |= p <= look.alpha
        always |= p <= ALPHA
    assert ever.mean() < ALPHA
    assert always.mean() > ALPHA  # each at 5 % would be more
