"""A metric's column of verdicts: every variant against the baseline, over all looks, in the metric's own unit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from results.alpha_spending import ALPHA, CLAIMS_FROM, Look, Looks
from results.statistics import Contrasts, Flags, Floats, contrasts

NO_PAIRS = "no paired seeds"
ONE_SEED = "one seed: no uncertainty"
TWO_SEEDS = "two seeds: no claim"

DESCRIPTIVE, SUPPORTED, CONFIRMED = "descriptive", "supported", "confirmed"


@dataclass(frozen=True)
class Column:
    """A metric of the baseline and the variants that are compared with it.

    Args:
        values: (1 + m, n) by row, the baseline first, and seed; NaN where there is no figure.
        settled: (1 + m, n) where no figure is to come any more: the trial has ended, well or not.
        seeds: (n,) the seeds of the columns.
    """

    values: Floats
    settled: Flags
    seeds: tuple[int, ...]

    @property
    def on_log_scale(self) -> bool:
        """Whether a ratio can be formed of all that is there."""
        return bool((self.values[np.isfinite(self.values)] > 0).all())


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline; NaN is what the number of pairs does not allow.

    Args:
        pairs: seeds that both have.
        difference: mean over the pairs, in the metric's unit, as are `ci_low`, `ci_high` and `floor`.
        ci_low: lower end of the interval; those of all variants hold at once in 95 % of studies.
        ci_high: its upper end.
        p: of 'no difference', corrected for all variants and looks; at most 0.05 where the interval excludes 0.
        floor: the smallest difference that the last look could have told from none.
        pairing: how many times as many seeds it would take without pairing them, as `statistics.Contrasts` has it.
        verdict: 'helps', 'hurts', 'inconclusive', or why nothing can be said.
        level: of the claim: confirmed by the planned seeds, supported by others, or none: descriptive.
    """

    pairs: int
    difference: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p: float = math.nan
    floor: float = math.nan
    pairing: float = math.nan
    verdict: str = NO_PAIRS
    level: str = DESCRIPTIVE


NOT_COMPARED = Comparison(pairs=0, verdict="", level="")  # the baseline, controls, probes


@dataclass(frozen=True)
class _Seen:
    """What one look says of one variant, on the scale of the comparison."""

    difference: float
    half_width: float
    p: float  # at most ALPHA where the interval excludes 0
    pairing: float
    level: str


def compared(column: Column, looks: Looks, *, lower_is_better: bool, log_scale: bool) -> list[Comparison]:
    """Each variant against the baseline, in the column's order.

    Args:
        column: the metric's figures.
        looks: at the study's table; without any, its seeds are a look that nobody planned.
        lower_is_better: the metric's good direction.
        log_scale: compare ratios, where all figures are positive: what varies in proportion to its size has equal
            spreads there, and a few large values do not rule.
    """
    log_scale = log_scale and column.on_log_scale
    values = np.log(column.values) if log_scale else column.values
    scaled = replace(column, values=values)
    looks = looks if looks.seeds else Looks((frozenset(column.seeds),))
    seen: list[list[_Seen]] = [[] for _ in values[1:]]
    for look in looks:
        for variant, found in _looked(scaled, look):
            seen[variant].append(found)
    now = contrasts(column.values)
    last = len(looks.seeds[-1])
    return [
        _in_unit(_judged(int(now.pairs[v]), last, found, lower_is_better), column.values, v, log_scale)
        for v, found in enumerate(seen)
    ]


def _looked(column: Column, look: Look) -> list[tuple[int, _Seen]]:
    """What a look says, of the variants of which all that it asked for has ended."""
    within = np.array([seed in look.seeds for seed in column.seeds], dtype=bool)
    missing = len(look.seeds) - within.sum()
    complete = (column.settled | ~within).all(axis=1) & (missing == 0)
    complete[1:] &= complete[0]
    values = np.where(within & complete[:, None], column.values, np.nan)
    found = contrasts(values)
    p, half_width = found.p() * ALPHA / look.alpha, found.half_width(look.alpha)
    numbers = zip(found.difference.tolist(), half_width.tolist(), np.minimum(p, 1.0).tolist(), strict=True)
    return [
        (v, _Seen(*three, float(found.pairing), _level(found, look, v)))
        for v, three in enumerate(numbers)
        if found.pairs[v] >= CLAIMS_FROM
    ]


def _level(found: Contrasts, look: Look, variant: int) -> str:
    """Confirmed is what was planned, and all of it: a seed that failed may have failed for a reason."""
    return CONFIRMED if look.planned and found.pairs[variant] == len(look.seeds) else SUPPORTED


def _judged(pairs: int, asked: int, seen: list[_Seen], lower_is_better: bool) -> Comparison:
    """The verdict over all looks: a claim stands once it was made, and the interval is what all of them leave."""
    if not seen:
        reasons = {0: NO_PAIRS, 1: ONE_SEED, 2: TWO_SEEDS}
        return Comparison(pairs, verdict=reasons.get(pairs, f"no claim yet: {pairs} of {asked} seeds"))
    low, high = max(s.difference - s.half_width for s in seen), min(s.difference + s.half_width for s in seen)
    surest = min(seen, key=lambda s: s.p)
    if low > high:  # looks that contradict each other
        low, high = surest.difference - surest.half_width, surest.difference + surest.half_width
    verdict, level = "inconclusive", DESCRIPTIVE
    if low > 0 or high < 0:
        verdict = "helps" if (high < 0) == lower_is_better else "hurts"
        level = next(s.level for s in seen if abs(s.difference) > s.half_width)
    now = seen[-1]
    return Comparison(pairs, math.nan, low, high, surest.p, now.half_width, now.pairing, verdict, level)


def _in_unit(found: Comparison, values: Floats, variant: int, log_scale: bool) -> Comparison:
    """The comparison with its difference, and with differences of logarithms turned into the metric's unit."""
    if not found.pairs:
        return found
    own, baseline = _paired(values, variant)
    difference = float(np.mean(own - baseline))
    if not log_scale:
        return replace(found, difference=difference)
    ratio = float(np.mean(np.log(own) - np.log(baseline)))
    level = _level_of_ratio(difference, ratio, baseline)
    ends = (level * math.expm1(found.ci_low), level * math.expm1(found.ci_high))
    floor = -level * math.expm1(-found.floor)
    return replace(found, difference=difference, ci_low=ends[0], ci_high=ends[1], floor=floor)


def _paired(values: Floats, variant: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = np.isfinite(values[0]) & np.isfinite(values[1 + variant])
    return values[1 + variant, both], values[0, both]


def _level_of_ratio(difference: float, ratio: float, baseline: Floats) -> float:
    """The baseline's level at which the mean ratio gives just the mean difference: a ratio's interval is shown there.

    So the interval holds the difference, and excludes 0 when the ratio's excludes 1. Where the two means disagree,
    as far from the baseline's figures as that, its geometric mean.
    """
    level = difference / math.expm1(ratio) if ratio else math.nan
    if baseline.min() <= level <= baseline.max():
        return level
    return float(np.exp(np.mean(np.log(baseline))))
