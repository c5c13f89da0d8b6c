"""Paired comparisons of small studies: differences by seed, intervals, an exact test, Holm's correction, verdicts.

Seed k of every variant starts from the same data order, noise draws and label split, so a variant is compared with
the baseline seed by seed and the seeds' common part cancels. What n paired seeds allow, two-sided at 5 %:

    n    half-width of the 95 % interval    smallest sign-flip p
    3    2.48 SD of the differences         0.25
    5    1.24                               0.0625
    6    1.05                               0.031
    10   0.72                               0.002

So n = 3 describes, whatever the data; an exact test needs n >= 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

EXACT_UP_TO = 16  # pairs: 2^16 sign patterns are 8 MB and some milliseconds
TESTABLE_FROM = 6  # pairs: the first n whose smallest sign-flip p, 2 / 2^n, is below 0.05

ONE_SEED = "one seed: no uncertainty"
NO_PAIRS = "no paired seeds"


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline on one metric; NaN is what the number of pairs does not allow."""

    pairs: int
    difference: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p: float = math.nan


def paired_differences(variant: pd.Series[float], baseline: pd.Series[float]) -> Floats:
    """Variant minus baseline for every seed that both have, by rising seed.

    Args:
        variant: a metric, indexed by seed, each seed once.
        baseline: the same metric of the baseline, indexed by seed, each seed once.

    Raises:
        ValueError: a seed appears twice, so that the pairs are not defined.
    """
    for side in (variant, baseline):
        if not side.index.is_unique:
            raise ValueError(f"each seed must appear once, but got seeds {side.index.tolist()}")
    seeds = variant.index.intersection(baseline.index).sort_values()
    return np.asarray(variant.loc[seeds] - baseline.loc[seeds], dtype=np.float64)


def t_interval(differences: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """The low and high end of Student's interval for the mean difference; NaN below two differences.

    Args:
        differences: (n,) paired differences.
        confidence: between 0 and 1.

    Source: Student 1908, The probable error of a mean: mean +- t_{n-1} SD / sqrt(n).
    """
    n = len(differences)
    if n < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(differences, ddof=1) / math.sqrt(n))
    mean = float(np.mean(differences))
    return mean - half, mean + half


def sign_flip_p(differences: Floats) -> float:
    """The two-sided p of 'the differences are symmetric about 0'; NaN below two differences.

    Up to n = 16 it is exact: the share of the 2^n sign patterns whose sum is at least as far from 0 as the observed
    one, so never below 2 / 2^n (n = 3: 0.25; n = 6: 0.031). Beyond, it is the p of the paired t test.

    Args:
        differences: (n,) paired differences.

    Source: Fisher 1935, The Design of Experiments, section 21.
    """
    n = len(differences)
    if n < 2:
        return math.nan
    if n > EXACT_UP_TO:
        return _t_p(differences)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    observed = abs(differences.sum())
    # Two patterns with the same sum may differ in the last bits; they are ties and must count.
    rounding = 1e-12 * np.abs(differences).sum()
    return float(np.mean(np.abs(signs @ differences) >= observed - rounding))


def _t_p(differences: Floats) -> float:
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    n = len(differences)
    return float(2 * stats.t.sf(abs(mean) / (sd / math.sqrt(n)), n - 1))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """The p values corrected for being several, in the given order; NaN stays NaN and is not counted.

    Args:
        p_values: (m,) between 0 and 1, or NaN where nothing was tested.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure: the i-th smallest of m is multiplied
    by m - i + 1, then made non-decreasing and cut at 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full_like(p, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def compare(differences: Floats) -> Comparison:
    """The mean difference with its 95 % interval and its uncorrected p.

    Args:
        differences: (n,) paired differences; n = 0 and n = 1 give NaN for all that they do not allow.
    """
    if len(differences) == 0:
        return Comparison(pairs=0)
    low, high = t_interval(differences)
    return Comparison(len(differences), float(np.mean(differences)), low, high, sign_flip_p(differences))


def verdict(comparison: Comparison, lower_is_better: bool) -> str:
    """'helps' or 'hurts' where the interval excludes 0, else 'inconclusive', or why there is no interval.

    The interval is that of one comparison. Of 20 variants that change nothing about one is called 'helps' or 'hurts';
    Holm's p is what guards the whole table, from 6 pairs on.
    """
    if comparison.pairs == 0:
        return NO_PAIRS
    if comparison.pairs == 1:
        return ONE_SEED
    if comparison.ci_low <= 0 <= comparison.ci_high:
        return "inconclusive"
    return "helps" if (comparison.difference < 0) == lower_is_better else "hurts"
