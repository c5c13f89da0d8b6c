"""Designs: which of a study's components are on together. Each has the baseline, the cell in which none is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

ONE_AT_A_TIME, LEAVE_ONE_OUT, FACTORIAL, FRACTION = "one-at-a-time", "leave-one-out", "factorial", "fraction"
DESIGNS = (ONE_AT_A_TIME, LEAVE_ONE_OUT, FACTORIAL, FRACTION)
CROSSED = (FACTORIAL, FRACTION)
JOINT, TIMES = "+", " × "  # between the components of a cell, and of an interaction
FEWEST = {ONE_AT_A_TIME: 0, LEAVE_ONE_OUT: 2, FACTORIAL: 2, FRACTION: 3}  # components; half of 2^2 tells none apart
MOST_CELLS = 64

Cell = tuple[str, ...]  # the components that are on

# Design -> whether it has the cells in which so many of k components are on.
_HAS: dict[str, Callable[[int, int], bool]] = {
    ONE_AT_A_TIME: lambda on, k: on == 1,
    LEAVE_ONE_OUT: lambda on, k: on >= k - 1,
    FACTORIAL: lambda on, k: True,
    # With every component coded -1 and +1 their product is the same in all of these cells, as in the baseline.
    # Source: Box, Hunter & Hunter 2005, Statistics for Experimenters, chapter 6: the half with I = +-ABC...
    FRACTION: lambda on, k: on % 2 == 0,
}


@dataclass(frozen=True)
class Design:
    """Which of a study's variants are crossed, and how.

    Args:
        components: the variants that its cells combine, in the order in which cells name them.
        pairs: further cells of two variants, by name.
    """

    name: str
    components: tuple[str, ...]
    pairs: tuple[str, ...] = ()

    @property
    def told(self) -> list[str]:
        """What it is, a line each, with what a fraction cannot tell apart."""
        count, named = len(cells(self.name, self.components)) + 1, ", ".join(self.components)
        lines = [f"design {self.name}: {count} cells of {named}, the baseline among them"]
        lines += [f"aliased: {alias}" for alias in aliases(self.components) if self.name == FRACTION]
        pairs = [f"together too: {', '.join(self.pairs)}"] if self.pairs else []
        return [*(lines if self.name != ONE_AT_A_TIME else []), *pairs]


def cells(design: str, components: Sequence[str]) -> list[Cell]:
    """The design's cells but the baseline, by how many components are on, then in their order.

    Args:
        design: one of `DESIGNS`.
    """
    k = len(components)
    return [cell for on in range(1, k + 1) if _HAS[design](on, k) for cell in combinations(components, on)]


def aliases(components: Sequence[str]) -> list[str]:
    """The effects that the half of a factorial cannot tell apart: 'a = b × c × d', each once, the shorter one first.

    The product of all components is constant in the half, so an effect's column is that of all the other components,
    with their sign turned where their number is odd.
    """
    k, sign = len(components), "−" if len(components) % 2 else ""
    named: dict[frozenset[str], str] = {}
    for on in range(1, k // 2 + 1):
        for effect in combinations(components, on):
            others = tuple(name for name in components if name not in effect)
            if frozenset(others) not in named:
                named[frozenset(effect)] = f"{TIMES.join(effect)} = {sign}{TIMES.join(others)}"
    return list(named.values())
