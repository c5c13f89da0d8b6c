"""Many variants against one baseline: the differences, their simultaneous intervals and p values, by one procedure.

A study has few seeds, so no variant knows its own spread well; its variants need not have one spread, so a pooled one
may be wrong; and among many variants that change nothing some look good by chance. What is done about it:

1. Seed k of every variant begins with the same draws. Where that makes the seeds alike (an F test of the seeds at
   `PAIRING_LEVEL`), what they have in common is taken out; else it is left in, for estimating it costs more than it
   gains. One variant alone is always compared seed by seed.
2. Each variant's variance is moderated: shrunk towards the variants' common one as if that were known from `PRIOR_DF`
   degrees of freedom. The baseline is in every difference, so its own variance counts almost alone.
3. A difference has the degrees of freedom that Satterthwaite's formula gives to this sum of variances.
4. Sidak's correction for as many differences as are tested: at most 5 % of studies without any effect say anything,
   whatever the number of variants.

`benchmarks/verdicts.py` prints what that gives: false tables, coverage, and power beside that of other procedures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from results.alpha_spending import CLAIMS_FROM

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


PRIOR_DF = 8.0
BASELINE_PRIOR_DF = 0.25
PAIRING_LEVEL = 0.1


@dataclass(frozen=True)
class Contrasts:
    """Each variant's difference from the baseline with its error; NaN is what the number of pairs does not allow.

    Args:
        pairs: (m,) seeds that the variant and the baseline both have.
        difference: (..., m) means over the pairs.
        standard_error: (..., m) of the difference.
        df: (..., m) degrees of freedom of the standard error.
        pairing: (...) how many times as many seeds the same certainty would take without pairing; 1: what seeds have
            in common was not to be seen, and is left in.
    """

    pairs: NDArray[np.int64]
    difference: Floats
    standard_error: Floats
    df: Floats
    pairing: Floats

    @property
    def tested(self) -> int:
        """The number of variants that have pairs enough."""
        return int((self.pairs >= CLAIMS_FROM).sum())

    def p(self) -> Floats:
        """Of every difference, the two-sided p of 'no difference', corrected for all that are tested: (..., m).

        Source: Sidak 1967, Rectangular confidence regions for the means of multivariate normal distributions.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(self.difference == 0, 0.0 * self.standard_error, np.abs(self.difference) / self.standard_error)
        alone = 2 * stats.t.sf(t, self.df)
        return np.asarray(-np.expm1(self.tested * np.log1p(-np.minimum(alone, 1 - 1e-16))), dtype=np.float64)

    def half_width(self, alpha: float) -> Floats:
        """Of every difference, half of its interval: all hold at once in a share of 1 - alpha of studies: (..., m)."""
        alone = -math.expm1(math.log1p(-alpha) / max(self.tested, 1))
        return np.asarray(stats.t.isf(alone / 2, self.df) * self.standard_error, dtype=np.float64)


def contrasts(values: Floats) -> Contrasts:
    """Each variant's difference from the baseline, with standard error and degrees of freedom.

    Args:
        values: (..., 1 + m, n) a metric by row (the baseline first) and seed; NaN where a row lacks a seed. Leading
            axes are studies, all with the same gaps.

    Source: Smyth 2004, Linear models and empirical Bayes methods for assessing differential expression, section 3, for
    moderated variances (there the prior's degrees of freedom are estimated, which needs many rows; here they are
    fixed); Satterthwaite 1946, An approximate distribution of estimates of variance components, for df.
    """
    studies = math.prod(values.shape[:-2])
    finite = np.isfinite(values.reshape(studies, *values.shape[-2:])).min(axis=0)
    present: Flags = finite & finite[0]
    pairs = present[1:].sum(axis=1)
    with np.errstate(invalid="ignore"):
        sums = np.where(present[1:], values[..., 1:, :] - values[..., :1, :], 0.0).sum(axis=-1)
        difference = np.where(pairs > 0, sums / np.maximum(pairs, 1), np.nan)
    error, df = np.full_like(difference, np.nan), np.full_like(difference, np.nan)
    pairing = np.full(values.shape[:-2], np.nan)
    tested = pairs >= CLAIMS_FROM
    if tested.any():
        rows = np.concatenate(([True], tested))
        variance, row_df, pairing = _row_variances(values[..., rows, :], present[rows])
        error[..., tested], df[..., tested] = _errors(variance, row_df, pairs[tested])
    return Contrasts(pairs, difference, error, df, pairing)


def _row_variances(values: Floats, present: Flags) -> tuple[Floats, Floats, Floats]:
    """Of every row the variance and its degrees of freedom, (..., k), and how much pairing gains, (...)."""
    row, seed = np.nonzero(present)
    cells = values[..., row, seed]
    rows, seeds = np.eye(len(present))[row], np.eye(present.shape[1])[seed]
    apart, apart_df = _residuals(cells, rows, rows)
    paired, paired_df = _residuals(cells, np.hstack([rows, seeds]), rows)
    common_df = apart_df.sum() - paired_df.sum()
    left, in_common = paired.sum(axis=-1) / paired_df.sum(), (apart.sum(axis=-1) - paired.sum(axis=-1)) / common_df
    alike = in_common > left * stats.f.isf(PAIRING_LEVEL, common_df, paired_df.sum())
    alike = (alike | (len(present) == 2))[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        gained = np.maximum(apart.sum(axis=-1) / apart_df.sum() / left, 1.0)
    variance, df = np.where(alike, paired / paired_df, apart / apart_df), np.where(alike, paired_df, apart_df)
    return variance, df, np.where(alike[..., 0], gained, 1.0)


def _residuals(cells: Floats, design: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Of every row its residuals' sum of squares (..., k), and its share of the degrees of freedom (k,)."""
    maker = np.eye(len(design)) - design @ np.linalg.pinv(design)
    return (cells @ maker) ** 2 @ rows, np.diag(maker) @ rows


def _errors(variance: Floats, df: Floats, pairs: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The standard error and the degrees of freedom of each variant's difference, (..., m)."""
    every = df / df.sum(axis=-1, keepdims=True)
    others = df[..., 1:] / df[..., 1:].sum(axis=-1, keepdims=True)
    own = BASELINE_PRIOR_DF / (BASELINE_PRIOR_DF + df[..., :1])
    shrunk = PRIOR_DF / (PRIOR_DF + df[..., 1:])
    # weight[..., v, j]: by how much the variance of row j counts in the variance of one seed's difference v.
    weight = np.repeat((own * every)[..., None, :], len(pairs), axis=-2)
    weight[..., 0] += 1 - own
    weight[..., 1:] += shrunk[..., None] * others[..., None, :]
    weight[..., 1:] += (1 - shrunk)[..., None] * np.eye(len(pairs))
    parts = weight * variance[..., None, :]
    total = parts.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        satterthwaite = total**2 / (parts**2 / df[..., None, :]).sum(axis=-1)
    return np.sqrt(total / pairs), np.where(total > 0, satterthwaite, df.sum(axis=-1, keepdims=True))
