"""How often a study's table is looked at with more seeds, and what each look may spend of the 5 % for a false claim.

The number of seeds that a study asks for before it has results is its plan. Who looks again with more seeds has one
more chance to be misled, so the plan leaves a part of the 5 % unspent, and every further look takes half of what is
left. Claims of earlier looks stand: an interval is what the intervals of all looks have in common.

Source: Lan & DeMets 1983, Discrete sequential boundaries for clinical trials (spending); Jennison & Turnbull 1989,
Interim analyses: the repeated confidence interval approach (intervals).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CLAIMS_FROM = 3  # seeds: with two a difference is described and no more

ALPHA = 0.05
PLAN_ALPHA = 0.045  # benchmarks/verdicts.py: power at three seeds is not below an uncorrected paired t test's
TAG = "looks"  # of the study's experiment in MLflow


@dataclass(frozen=True)
class Look:
    """One look at a study's table: its seeds, what it spends, and whether it was planned before its results."""

    seeds: frozenset[int]
    alpha: float
    planned: bool


@dataclass(frozen=True)
class Looks:
    """The looks at a study's table.

    Args:
        seeds: all that the study had been asked for by each command that asked for more, `CLAIMS_FROM` or more.
        planned: the first of them was asked for before as many seeds had results.
    """

    seeds: tuple[frozenset[int], ...] = ()
    planned: bool = False

    def __iter__(self) -> Iterator[Look]:
        """The plan, then the further looks, each with what it may spend."""
        further = 0
        for k, seeds in enumerate(self.seeds):
            planned = self.planned and k == 0
            further += not planned
            yield Look(seeds, PLAN_ALPHA if planned else (ALPHA - PLAN_ALPHA) / 2**further, planned)

    def after(self, asked: Iterable[int], finished: Iterable[int]) -> Looks:
        """The looks once a command has asked for seeds, of which nothing is new if there had been as many.

        Fewer than `CLAIMS_FROM` seeds are no look: nothing is claimed of them, so nothing is spent.

        Args:
            asked: the seeds of the command.
            finished: the seeds that have results already.
        """
        before = frozenset(finished)
        seeds = frozenset(asked) | before | (self.seeds[-1] if self.seeds else frozenset())
        if len(seeds) < CLAIMS_FROM or seeds in self.seeds:
            return self
        planned = self.planned if self.seeds else len(before) < CLAIMS_FROM
        return Looks((*self.seeds, seeds), planned)

    def as_text(self) -> str:
        """The looks as a tag."""
        return json.dumps({"planned": self.planned, "seeds": [sorted(seeds) for seeds in self.seeds]})


def from_text(text: str) -> Looks:
    """The looks that a tag tells of; none where it is empty."""
    told = json.loads(text or "{}")
    return Looks(tuple(frozenset(seeds) for seeds in told.get("seeds", [])), bool(told.get("planned")))
