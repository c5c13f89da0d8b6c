"""Prints how often studies without any effect say something, and how often a true effect is found, by procedure.

python benchmarks/verdicts.py [--studies 20000] [--seeds 2 3 4 5 6 8 10] [--variants 1 4 19]

Each line is one kind of study: so many seeds, variants, spreads (all alike, one variant's or the baseline's three
times the others', ...), what part of the variance the seeds share, and a normal or an exponential distribution. 'false'
is the share of tables of a metric in which a variant that changes nothing helps or hurts; 'cover' that of tables whose
intervals all hold the truth; 'power' that of tables that find a variant whose effect is 3 standard deviations (2 from
5 seeds on) of one figure. Three procedures, on the same figures:

    ours     what the tables say of the planned seeds
    pairs    each variant's paired t test alone, without correction: what the tables used before
    Dunnett  one spread for all, seeds as blocks, Dunnett's correction

Then what looking again costs: a planned look and a further look at every seed that is added. Two seeds make no claim.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from results.alpha_spending import ALPHA, CLAIMS_FROM, PLAN_ALPHA, Looks
from results.statistics import contrasts

Floats = NDArray[np.float64]
Drawn = dict[str, Floats]  # procedure -> (studies, m), whether a claim is made

SHARED = (0.0, 0.5)  # of the variance, by the seeds
POWER_PAIRS = 5  # seeds from which the effect is 2 and not 3: else every procedure finds it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4, 5, 6, 8, 10])
    parser.add_argument("--variants", type=int, nargs="+", default=[1, 4, 19])
    words = parser.parse_args()
    print(f"{words.studies} studies a line; a share has a standard error of {50 / words.studies**0.5:.2f} % at most")
    for n, m in itertools.product(words.seeds, words.variants):
        _print(n, m, words.studies)
    for m in words.variants:
        print(f"looks at 3, 4, ..., 10 seeds, {m} variants: {_false_over_looks(m, words.studies):.1%} false")


def spreads(m: int) -> dict[str, Floats]:
    """The standard deviations of the baseline and m variants, by name."""
    alike = np.ones(1 + m)
    one, baseline = np.eye(1 + m)[1], np.eye(1 + m)[0]
    return {
        "alike": alike,
        "one variant 3x": alike + 2 * one,
        "baseline 3x": alike + 2 * baseline,
        "one variant 1/3": alike - 2 / 3 * one,
        "baseline 1/3": alike - 2 / 3 * baseline,
        "from 1x to 3x": np.linspace(1, 3, 1 + m),
    }


def drawn(rng: np.random.Generator, shape: tuple[int, int, int], sd: Floats, shared: float, skewed: bool) -> Floats:
    """Figures without any effect: (studies, 1 + m, n).

    Args:
        shape: studies, 1 + m, n.
        sd: (1 + m,) of each row's own part.
        shared: the part of the variance that the seeds have in common where sd is 1.
        skewed: exponential and not normal.
    """
    own = rng.exponential(size=shape) - 1 if skewed else rng.standard_normal(shape)
    common = rng.standard_normal((shape[0], 1, shape[2]))
    return np.asarray(np.sqrt(1 - shared) * sd[:, None] * own + np.sqrt(shared) * common)


def claims(values: Floats) -> Drawn:
    """Which variants each procedure says to help or hurt."""
    n, m = values.shape[-1], values.shape[-2] - 1
    paired = values[:, 1:] - values[:, :1]
    t = np.abs(paired.mean(axis=-1)) / (paired.std(axis=-1, ddof=1) / np.sqrt(n))
    residual = values - values.mean(axis=-1, keepdims=True)
    residual -= residual.mean(axis=-2, keepdims=True)
    pooled = np.sqrt(2 / n * (residual**2).sum(axis=(-1, -2)) / (m * (n - 1)))[:, None]
    ours = contrasts(values).p() <= PLAN_ALPHA if n >= CLAIMS_FROM else np.zeros(paired.shape[:2], dtype=bool)
    return {
        "ours": ours,
        "pairs": 2 * stats.t.sf(t, n - 1) <= ALPHA,
        "Dunnett": np.abs(paired.mean(axis=-1)) / pooled > dunnett_point(m, m * (n - 1)),
    }


def dunnett_point(m: int, df: int) -> float:
    """Dunnett's two-sided 5 % point for m variants against one baseline, equal in size.

    Source: Dunnett 1955, A multiple comparison procedure for comparing several treatments with a control: one factor
    with loading sqrt(1/2) on each difference, integrated by Gauss's rules.
    """
    z, z_weight = np.polynomial.hermite_e.hermegauss(60)
    u = (np.arange(400) + 0.5) / 400
    scale = np.sqrt(stats.chi2.ppf(u, df) / df)

    def missed(point: float) -> float:
        bound = point * scale[:, None] * np.sqrt(2)
        inside = (stats.norm.cdf(z + bound) - stats.norm.cdf(z - bound)) ** m
        return float((inside @ z_weight).mean() / z_weight.sum()) - (1 - ALPHA)

    return float(brentq(missed, 1.0, 100.0))


def _print(n: int, m: int, studies: int) -> None:
    print(f"\n{n} seeds, {m} variants{'':24s} | false: ours  pairs Dunnett | cover: ours | power: ours  pairs Dunnett")
    for number, (name, sd, shared, skewed) in enumerate(_kinds(m)):
        rng = np.random.default_rng((n, m, number))
        values = drawn(rng, (studies, 1 + m, n), sd, shared, skewed)
        false = {procedure: found.any(axis=-1).mean() for procedure, found in claims(values).items()}
        values[:, 1] += 3 if n < POWER_PAIRS else 2
        power = {procedure: found[:, 0].mean() for procedure, found in claims(values).items()}
        told = f"{name}, {shared:.0%} shared, {'skewed' if skewed else 'normal'}"
        covered = f"{1 - false['ours']:10.1%}"
        print(f"{told:44s} |{_line(false, '.1%')} | {covered}  |{_line(power, '.2f')}", flush=True)


def _kinds(m: int) -> Iterator[tuple[str, Floats, float, bool]]:
    for (name, sd), shared, skewed in itertools.product(spreads(m).items(), SHARED, (False, True)):
        yield name, sd, shared, skewed


def _line(shares: dict[str, float], how: str) -> str:
    return "".join(f"{shares[name]:{width}{how}}" for name, width in (("ours", 12), ("pairs", 7), ("Dunnett", 8)))


def _false_over_looks(m: int, studies: int) -> float:
    """The share of studies without effect that ever say something, when one looks after every further seed."""
    values = drawn(np.random.default_rng(m), (studies, 1 + m, 10), np.ones(1 + m), 0.0, skewed=False)
    ever = np.zeros(studies, dtype=bool)
    for look in Looks(tuple(frozenset(range(n)) for n in range(CLAIMS_FROM, 11)), planned=True):
        ever |= (contrasts(values[..., : len(look.seeds)]).p() <= look.alpha).any(axis=-1)
    return float(ever.mean())


if __name__ == "__main__":
    main()
