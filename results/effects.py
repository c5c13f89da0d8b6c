"""What each component of a design does, and what two do together: least squares, with the seeds as blocks.

A component is coded -1 where it is off and +1 where it is on. An effect is the mean over the cells where its column is
+1 less that where it is -1: a main effect is what the component changes, averaged over the others; an interaction is
half of what another component adds to that change. The intervals of one metric hold together with 95 %, and p and
verdict are those intervals' own.

Source: Box, Hunter & Hunter 2005, Statistics for Experimenters, chapters 5 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from results.maximum_modulus import exceeded, quantile
from results.metrics import Metric, known
from results.trials import BASELINE, FINISHED

Floats = NDArray[np.float64]
Cell = frozenset[str]  # the components that are on
Planned = Mapping[Cell, str]  # the cells that there are, with their variants' names

CONFIDENCE = 0.95
JOINT, TIMES = "+", " × "
FACTORIAL, FRACTION, LEAVE_ONE_OUT = "factorial", "fraction", "leave-one-out"
CROSSED = (FACTORIAL, FRACTION)
MAIN, INTERACTION, REMOVAL = "main effect", "interaction", "in the full combination"
EFFECT_COLUMNS = (
    *("metric", "effect", "kind", "aliases", "estimate", "ci_low", "ci_high", "p", "verdict"),
    *("trials", "n", "seeds", "df", "missing"),
)
INCONCLUSIVE, NOT_ESTIMABLE, NO_RESIDUAL = "inconclusive", "not estimable", "no residual: no uncertainty"
ALIASED = "not zero"  # of aliased effects only their sum is known


@dataclass(frozen=True)
class _Effect:
    """An effect as a combination of the model's coefficients; `aliases` are those that no cell tells from it."""

    name: str
    kind: str
    weights: Mapping[str, float]
    aliases: tuple[str, ...] = ()


def effects_table(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a metric and effect, `EFFECT_COLUMNS`; no rows where no components run together.

    A factorial and its fraction have each component's main effect and the interactions of two; those of three and more
    are in the residual. A leave-one-out has each component's effect in the full combination, and two components that
    ran alone and together have their interaction. `n` counts the trials that the fit is of, among the design's
    `trials`, `seeds` their seeds; `df` is the residual's. NaN is what those do not allow: an estimate, or, without a
    residual, an interval. `aliases` are effects whose sum with this one is all that the cells tell, `missing` the cells
    without a figure.

    Args:
        trials: as `trials.load_trials` gives them.
    """
    own, cells = _of_design(trials)
    rows = [row for metric in known(trials) for row in _of_metric(own, cells, metric)]
    table = pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))
    table.attrs = {name: trials.attrs.get(name) or {} for name in ("design", "higher_is_better")}
    table.attrs["objective"] = trials.attrs.get("objective", "")
    return table


def _of_design(trials: pd.DataFrame) -> tuple[pd.DataFrame, list[Cell]]:
    """The trials that are of the design's cells, and the cell of each; none where no components run together."""
    own = trials[trials["kind"] == "variant"]
    cells = [frozenset() if name == BASELINE else frozenset(str(name).split(JOINT)) for name in own["variant"]]
    design, together = trials.attrs.get("design") or {}, [cell for cell in cells if len(cell) > 1]
    components = frozenset(design.get("components", ()))
    if design.get("name") not in CROSSED:
        components = components.union(*together)
    crossed = bool(_combinations(design) or together)
    of_design = np.array([crossed and cell <= components for cell in cells], dtype=bool)
    return own[of_design], [cell for cell, has in zip(cells, of_design, strict=True) if has]


def _of_metric(own: pd.DataFrame, cells: Sequence[Cell], metric: Metric) -> Iterator[dict[str, object]]:
    values: Floats = np.asarray(own.get(metric.name, pd.Series(math.nan, own.index)), dtype=np.float64)
    measured = (own["status"] == FINISHED).to_numpy() & np.isfinite(values)
    if not measured.any():
        return
    about_design = own.attrs.get("design") or {}
    planned = _combinations(about_design) | dict(zip(cells, own["variant"], strict=True))
    columns, effects = _model(about_design, planned)
    if not effects:
        return
    design = pd.DataFrame([columns[cell] for cell in cells])[measured]
    blocks = pd.get_dummies(own.loc[measured, "seed"], dtype=np.float64)
    found = {cell for cell, has in zip(cells, measured, strict=True) if has}
    missing = ", ".join(name for cell, name in planned.items() if cell not in found)
    about = {"metric": metric.name, "trials": len(own), "n": int(measured.sum()), "seeds": blocks.shape[1]}
    contrasts = pd.DataFrame([effect.weights for effect in effects], columns=[*design, *blocks]).fillna(0.0)
    whole = np.column_stack([design, blocks]).astype(np.float64)
    fits = _fitted(values[measured], whole, contrasts.to_numpy(dtype=np.float64))
    for effect, fit in zip(effects, fits, strict=True):
        said = {"effect": effect.name, "kind": effect.kind, "aliases": " ".join(effect.aliases)}
        yield about | said | fit | {"verdict": _verdict(effect, fit, metric), "missing": missing}


def _combinations(design: Mapping[str, Any]) -> dict[Cell, str]:
    """All cells of a named design, those too of which no trial has begun."""
    components = design.get("components", ())
    k = len(components)
    on = {FACTORIAL: range(k + 1), FRACTION: range(0, k + 1, 2), LEAVE_ONE_OUT: (0, k - 1, k)}
    sizes = on.get(design.get("name", ""), ())
    return {frozenset(cell): JOINT.join(cell) or BASELINE for n in sizes for cell in combinations(components, n)}


def _model(design: Mapping[str, Any], planned: Planned) -> tuple[dict[Cell, dict[str, float]], list[_Effect]]:
    """The model's columns in each cell, and the effects that are asked of it."""
    if design.get("name") in CROSSED:
        return _crossed(design["components"], planned)
    columns = {cell: {other: float(other == name) for other in planned.values()} for cell, name in planned.items()}
    removals = [*_removals(design["components"], planned)] if design.get("name") == LEAVE_ONE_OUT else []
    return columns, [*removals, *_pairs(planned)]


def _crossed(components: Sequence[str], planned: Planned) -> tuple[dict[Cell, dict[str, float]], list[_Effect]]:
    """Main effects and interactions of two; those that are the same in all cells up to their sign are one."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for effect in (*((name,) for name in components), *combinations(components, 2)):
        signs = tuple(math.prod(1 if name in cell else -1 for name in effect) for cell in planned)
        turned, told = tuple(-sign for sign in signs), TIMES.join(effect)
        if turned in groups:
            groups[turned].append(f"− {told}")
        elif signs in groups:
            groups[signs].append(f"+ {told}")
        else:
            groups[signs] = [told]
    # Half of a column, as an effect is the step from -1 to +1.
    columns = {cell: {names[0]: signs[i] / 2 for signs, names in groups.items()} for i, cell in enumerate(planned)}
    effects = [
        _Effect(name, INTERACTION if TIMES in name else MAIN, {name: 1.0}, tuple(aliases))
        for name, *aliases in groups.values()
    ]
    return columns, effects


def _removals(components: Sequence[str], planned: Planned) -> Iterator[_Effect]:
    full = frozenset(components)
    for name in components:
        yield _Effect(name, REMOVAL, {planned[full]: 1.0, planned[full - {name}]: -1.0})


def _pairs(planned: Planned) -> Iterator[_Effect]:
    """The interactions of two components whose four cells there are."""
    for cell, name in planned.items():
        parts = {cell: 0.5, **{frozenset({part}): -0.5 for part in cell}, frozenset[str](): 0.5}
        if len(cell) == 2 and all(part in planned for part in parts):
            weights = {planned[part]: weight for part, weight in parts.items()}
            yield _Effect(name.replace(JOINT, TIMES), INTERACTION, weights)


def _fitted(y: Floats, whole: Floats, contrasts: Floats) -> Iterator[dict[str, float]]:
    """Each contrast's estimate with its interval and p; NaN for what the rows of `whole` do not allow.

    Args:
        y: (n,) figures.
        whole: (n, c) the model's columns, the blocks' among them.
        contrasts: (m, c) the effects, of the model's coefficients.

    Source: simultaneous intervals by the studentised maximum modulus, Stoline & Ury 1979; exact where the estimates are
    uncorrelated, as in a complete factorial, and too wide otherwise (Sidak 1967).
    """
    from statsmodels.regression.linear_model import OLS  # only now: it takes half a second

    # In the basis of its rows the model has full rank, and a contrast is estimable where that basis holds it.
    _, scales, rows = np.linalg.svd(whole, full_matrices=False)
    basis = rows[scales > 1e-10 * scales.max()]
    fit, weights = OLS(y, whole @ basis.T).fit(), contrasts @ basis.T
    df = int(fit.df_resid)
    estimable = np.isclose(weights @ basis, contrasts, atol=1e-8).all(axis=1)
    smallest = 1e-12 * np.abs(y).max()  # below it a figure is a rounding
    estimates = np.where(estimable, weights @ fit.params, math.nan)
    estimates[np.abs(estimates) <= smallest] = 0.0
    errors = fit.t_test(weights).sd if df else np.zeros(len(weights))
    many = int(estimable.sum())
    for estimate, error in zip(estimates, np.where(errors <= smallest, 0.0, errors), strict=True):
        low, high, p = _interval(estimate, error, many, df) if df and not math.isnan(estimate) else (math.nan,) * 3
        yield {"estimate": estimate, "ci_low": low, "ci_high": high, "p": p, "df": df}


def _interval(estimate: float, error: float, many: int, df: int) -> tuple[float, float, float]:
    half = quantile(CONFIDENCE, many, df) * error
    if not error:  # figures that are alike to the last digit, whatever the seed
        return estimate, estimate, float(estimate == 0)
    return estimate - half, estimate + half, exceeded(abs(estimate) / error, many, df)


def _verdict(effect: _Effect, fitted: Mapping[str, float], metric: Metric) -> str:
    if math.isnan(fitted["estimate"]):
        return NOT_ESTIMABLE
    if math.isnan(fitted["p"]):
        return NO_RESIDUAL
    if fitted["ci_low"] <= 0 <= fitted["ci_high"]:
        return INCONCLUSIVE
    if effect.aliases:
        return ALIASED
    better = (fitted["estimate"] < 0) == metric.lower_is_better
    if effect.kind == INTERACTION:
        return "better together" if better else "worse together"
    return "helps" if better else "hurts"
