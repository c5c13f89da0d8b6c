"""Studies of crossed components whose effects are known: what the effects' tests draw from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from tests.results.studies import trial

COMPONENTS = ("adagn", "convnext", "cosine", "no_attention")


def crossed(
    seeds: int,
    planted: Mapping[str, float],
    components: Sequence[str] = COMPONENTS,
    design: str = "factorial",
    sd: float = 1.0,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """The trials of a design in which `planted` effects act on fid: "adagn": -10.0, "adagn × cosine": 4.0.

    Args:
        sd: of what a training adds; the seeds differ by five times as much.
    """
    every = [cell for on in range(len(components) + 1) for cell in combinations(components, on)]
    has = {
        "factorial": lambda on: True,
        "fraction": lambda on: on % 2 == 0,
        "leave-one-out": lambda on: on in (0, len(components) - 1, len(components)),
        "one-at-a-time": lambda on: on < 2,
    }[design]
    rng = rng or np.random.default_rng(0)
    blocks = 5 * sd * rng.standard_normal(seeds)
    rows = [
        trial("+".join(cell) or "baseline", seed, position, fid=50 + blocks[seed] + sd * rng.standard_normal() + moved)
        for position, cell in enumerate(cell for cell in every if has(len(cell)))
        for moved in [_moved(cell, planted)]
        for seed in range(seeds)
    ]
    return named(pd.DataFrame(rows), design, components)


def named(trials: pd.DataFrame, design: str, components: Sequence[str] = COMPONENTS) -> pd.DataFrame:
    trials.attrs["design"] = {"name": design, "components": list(components), "pairs": []}
    return trials


def _moved(cell: Sequence[str], planted: Mapping[str, float]) -> float:
    """What the effects add to a cell: each is the step of its column from -1 to +1."""
    return sum(
        effect / 2 * np.prod([1 if name in cell else -1 for name in names.split(" × ")])
        for names, effect in planted.items()
    )
