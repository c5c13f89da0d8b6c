"""How many seeds it takes to find a difference, by simulating the table's own verdicts with a study's spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from results.alpha_spending import CLAIMS_FROM, PLAN_ALPHA
from results.statistics import Floats, contrasts

POWER = 0.8
MOST_SEEDS = 100
STUDIES = 2000  # a power of 0.8 is known to 0.9 %
_SEED = 20261130  # of the simulation: the same words get the same answer


@dataclass(frozen=True)
class Spread:
    """How figures of one metric vary between seeds, on the scale that they are compared on.

    Args:
        level: the baseline's mean.
        own: SD of what a row's seed has for itself.
        shared: SD of what all rows of a seed have in common.
        df: degrees of freedom that `own` is known from.
        log_scale: both are of logarithms.
    """

    level: float
    own: float
    shared: float
    df: int
    log_scale: bool

    def of(self, share: float) -> float:
        """The difference, on this scale, that is this share of the baseline's mean: 0.02 is 2 %."""
        return math.log1p(share) if self.log_scale else share * abs(self.level)


def spread(values: Floats, *, log_scale: bool) -> Spread | None:
    """The spread of a study's figures; None where they have none to learn from.

    Args:
        values: (1 + m, n) by row, the baseline first, and seed; NaN where there is no figure.
        log_scale: compare logarithms.
    """
    several = np.isfinite(values).sum(axis=1) > 1
    complete = values[several][:, np.isfinite(values[several]).all(axis=0)]
    rows, seeds = complete.shape
    if rows < 2 or seeds < 2 or not several[0]:
        return None
    scaled = np.log(complete) if log_scale else complete
    apart = scaled - scaled.mean(axis=1, keepdims=True)
    residual = apart - apart.mean(axis=0)
    df = (rows - 1) * (seeds - 1)
    own = float((residual**2).sum() / df)
    shared = float((apart**2).sum() / (rows * (seeds - 1))) - own
    return Spread(float(complete[0].mean()), math.sqrt(own), math.sqrt(max(shared, 0.0)), df, log_scale)


def power(known: Spread, difference: float, seeds: int, variants: int) -> float:
    """The share of studies of so many planned seeds in which a variant that differs so much is told from the baseline.

    Args:
        known: how figures vary.
        difference: on the scale of `known`.
        seeds: of each row.
        variants: beside the baseline; one differs.
    """
    if seeds < CLAIMS_FROM:
        return 0.0
    rng = np.random.default_rng(_SEED)
    values = known.own * rng.standard_normal((STUDIES, 1 + variants, seeds))
    values += known.shared * rng.standard_normal((STUDIES, 1, seeds))
    values[:, 1] += difference
    found = contrasts(values)
    return float(((found.p()[:, 0] <= PLAN_ALPHA) & (found.difference[:, 0] > 0)).mean())


def seeds_needed(known: Spread, difference: float, variants: int) -> int | None:
    """The smallest number of seeds that finds the difference in `POWER` of studies; None above `MOST_SEEDS`.

    Args:
        known: how figures vary.
        difference: positive, on the scale of `known`.
        variants: beside the baseline.
    """
    low, high = CLAIMS_FROM, CLAIMS_FROM
    while power(known, difference, high, variants) < POWER:
        if high >= MOST_SEEDS:
            return None
        low, high = high + 1, min(2 * high, MOST_SEEDS)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(known, difference, middle, variants) >= POWER else (middle + 1, high)
    return high
