"""The studentised maximum modulus: the largest of m independent |t| that share one estimate of their error.

Neither scipy nor statsmodels has it; Sidak's and Bonferroni's corrections make wider intervals at few degrees of
freedom.
Source: Stoline & Ury 1979, Tables of the studentized maximum modulus distribution, Technometrics 21.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

NODES, BEYOND = 256, 8.5  # points, and the standard deviations that they span to either side


def exceeded(value: float, m: int, df: int) -> float:
    """The probability that the largest of m is above `value`: the p of one of m effects, corrected for all m.

    Args:
        value: from 0 on.
        m: how many there are.
        df: degrees of freedom of the common error.
    """
    scales, weights = _scales(df)
    # 1 - (1 - 2 sf)^m at each scale of the error, without the rounding of small figures.
    with np.errstate(divide="ignore"):  # at 0, where it is 1
        return float(weights @ -np.expm1(m * np.log1p(-2 * norm.sf(value * scales))))


@lru_cache
def quantile(confidence: float, m: int, df: int) -> float:
    """What the largest of m stays below with the probability `confidence`, between 0 and 1."""
    low, high = (float(t.isf((1 - confidence) / 2 / k, df)) for k in (1, m))  # one alone, and Bonferroni's
    if m == 1:
        return low
    return float(brentq(lambda value: exceeded(value, m, df) - (1 - confidence), low, high, xtol=1e-10))


@lru_cache
def _scales(df: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimates of an error of 1, as standard deviations of `df` degrees of freedom, with their weights."""
    # Gauss-Legendre over a standard normal, of which the estimate is a function: exact in both tails.
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    z = BEYOND * nodes
    squares = np.where(z < 0, chi2.ppf(norm.cdf(z), df), chi2.isf(norm.sf(z), df))
    return np.sqrt(squares / df), BEYOND * weights * norm.pdf(z)
