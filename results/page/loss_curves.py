"""The losses of all variants by training step: the mean over seeds in a band from the least to the greatest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.page import svg
from results.page.elements import folded, identifier, note, section
from results.page.svg import Scale
from results.shown import Array, Shown
from results.trials import BASELINE

Floats = NDArray[np.float64]
Seeds = Mapping[int, Shown]  # seed -> what is shown of it

_WIDTH, _HEIGHT = 260, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 6, 24, 22
_LEAST_LETTERS = 30


@dataclass(frozen=True)
class Curve:
    """One loss of one variant over its seeds: (P,) steps, mean, least and greatest."""

    steps: Floats
    mean: Floats
    least: Floats
    greatest: Floats
    seeds: int


def loss_curves(shown: Mapping[str, Seeds]) -> str:
    """A section with a picture a variant, the baseline's curve behind it; "" where no loss is known.

    Args:
        shown: variant -> seed -> what is shown of it.
    """
    training = {variant: curve for variant, seeds in shown.items() if (curve := _over(seeds, "loss", 1))}
    pictures = [
        _picture("loss", name, [(c, "")], training.get(BASELINE), training.values()) for name, c in training.items()
    ]
    several = any(curve.seeds > 1 for curve in training.values())
    band = ", in a band from the least to the greatest of the seeds" if several else ""
    behind = " Grey: the baseline's." if BASELINE in training and len(training) > 1 else ""
    reading = (
        note(f"The training loss by step, mean over seeds{band}; all on the same axes.{behind}") if pictures else ""
    )
    return section("Training loss", _beside(pictures), reading, _classifiers(shown))


def _classifiers(shown: Mapping[str, Seeds]) -> str:
    """The pixel classifier's losses, folded away."""
    pairs: dict[str, list[tuple[Curve, str]]] = {}
    for variant, seeds in shown.items():
        curves = [(_over(seeds, "classifier", 1), ""), (_over(seeds, "classifier", 2), "second")]
        if found := [(curve, kind) for curve, kind in curves if curve]:
            pairs[variant] = found
    if all(len(curve.steps) < 2 for pair in pairs.values() for curve, _ in pair):
        return ""  # dots of one step each show no course
    every = [curve for pair in pairs.values() for curve, _ in pair]
    pictures = [_picture("classifier", name, pair, None, every) for name, pair in pairs.items()]
    reading = note("The pixel classifier's loss by step: blue in training, red on images that it is not trained on.")
    return folded("The pixel classifier's loss", _beside(pictures), reading)


def _beside(pictures: Sequence[str]) -> str:
    return f'<div class="small">{"".join(f"<figure>{one}</figure>" for one in pictures)}</div>' if pictures else ""


def _over(seeds: Seeds, name: str, row: int) -> Curve | None:
    """A loss over the seeds that have it; those of another length than the first are of other steps and left out."""
    records: list[Array] = [record for one in seeds.values() if (record := getattr(one, name)) is not None]
    records = [record for record in records if np.isfinite(record[row].astype(np.float64)).any()]
    alike = [record.astype(np.float64) for record in records if record.shape == records[0].shape]
    if not alike:
        return None
    losses = np.stack([record[row] for record in alike])
    kept = np.isfinite(losses).all(axis=0)
    if not kept.any():
        return None
    losses, steps = losses[:, kept], alike[0][0][kept]
    return Curve(steps, losses.mean(axis=0), losses.min(axis=0), losses.max(axis=0), len(alike))


def _picture(
    what: str, name: str, curves: Sequence[tuple[Curve, str]], reference: Curve | None, every: Iterable[Curve]
) -> str:
    x, y = _scales(list(every))
    marks = list(_axes(x, y))
    if reference is not None and reference is not curves[0][0]:
        marks.append(svg.path(_points(x, y, reference.steps, reference.mean), "curve reference"))
    for curve, kind in curves:
        if curve.seeds > 1:
            marks.append(svg.path(_band(x, y, curve), "band", closed=True))
        marks.append(svg.path(_points(x, y, curve.steps, curve.mean), f"curve {kind}"))
    first = curves[0][0]
    seeds = f"{first.seeds} seeds" if first.seeds > 1 else "one seed"
    ends = (
        f"from {first.mean[0]:.3g} at step {first.steps[0]:.0f} to {first.mean[-1]:.3g} at step {first.steps[-1]:.0f}"
    )
    marks.append(svg.text(_LEFT, 14, svg.shortened(name, _LEAST_LETTERS), "name", full=name))
    title = f"{name}: {'training loss' if what == 'loss' else 'loss of the pixel classifier'} by step"
    return svg.picture(identifier(what, name), _WIDTH, _HEIGHT, title, f"Mean over {seeds}: {ends}.", marks, what)


def _scales(every: Sequence[Curve]) -> tuple[Scale, Scale]:
    steps = np.concatenate([curve.steps for curve in every])
    losses = np.concatenate([np.concatenate([curve.least, curve.greatest]) for curve in every])
    log = bool((losses > 0).all())
    low, high = float(losses.min()), float(losses.max())
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    first, last = float(steps.min()), float(steps.max())
    x = Scale(first, last if last > first else first + 1, _LEFT, _WIDTH - _RIGHT)
    return x, Scale(low, high, _HEIGHT - _BOTTOM, _TOP, log)


def _axes(x: Scale, y: Scale) -> Iterator[str]:
    for tick in y.ticks(4):
        yield svg.line(x.start, y(tick), x.end, y(tick), "grid")
        yield svg.text(x.start - 5, y(tick) + 4, svg.tick_label(tick), "tick", "end")
    for tick in x.ticks(3):
        at = min(max(x(tick), x.start + 4), x.end - 12)
        yield svg.text(at, y.start + 15, svg.tick_label(tick), "tick", "middle")


def _points(x: Scale, y: Scale, steps: Floats, losses: Floats) -> list[tuple[float, float]]:
    return [(x(step), y(loss)) for step, loss in zip(steps, losses, strict=True) if not math.isnan(loss)]


def _band(x: Scale, y: Scale, curve: Curve) -> list[tuple[float, float]]:
    upper, lower = _points(x, y, curve.steps, curve.greatest), _points(x, y, curve.steps, curve.least)
    return [*upper, *reversed(lower)]
