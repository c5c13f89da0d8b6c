"""What the study cost: hours in all, time a variant, and the first metric against the time of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from results.formatting import duration, number
from results.metrics import Metric
from results.page import svg
from results.page.elements import identifier, note, section
from results.page.svg import Scale
from results.rows import StudyTable
from results.trials import BASELINE, CONTROL, FINISHED, PROBE

Box = tuple[float, float, float, float]  # left, top, right, bottom

_WIDTH, _HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 28, 44


def cost(table: StudyTable, summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """A section with the hours in all and a picture of the first metric against the cost; "" where none is known.

    Args:
        table: the study in words.
        summary: as `summary.summarise` gives it.
        trials: as `trials.load_trials` gives them.
    """
    hours = hours_in_all(trials)
    if not hours:
        return ""
    scatter = _scatter(table.metrics[0], summary) if table.metrics else ""
    return section("Cost", f"<p>{hours}</p>", f'<figure class="cost">{scatter}</figure>' if scatter else "")


def hours_in_all(trials: pd.DataFrame) -> str:
    """How long all finished trials took together, and their GPUs; "" where nothing was recorded."""
    done = trials[trials["status"] == FINISHED]
    trial_s = float(done["wall_time_s"].sum()) if "wall_time_s" in done else 0.0
    if not trial_s > 0:
        return ""
    gpu_s = float(done["gpu_s"].sum()) if "gpu_s" in done else 0.0
    price = trials.attrs.get("gpu_hour_price", 0.0)
    money = f", cost {gpu_s / 3600 * price:.2f}" if gpu_s > 0 and price else ""
    on_gpu = f" and {gpu_s / 3600:.2f} GPU-hours ({duration(gpu_s)}){money}" if gpu_s > 0 else ", none of it on a GPU"
    return (
        f"{len(done)} finished trials took {trial_s / 3600:.2f} trial-hours ({duration(trial_s)}){on_gpu}. A trial's "
        "time is that of making all that its figures rest on; what several trials share counts in each."
    )


def _scatter(metric: Metric, summary: pd.DataFrame) -> str:
    """The metric against the mean time of a trial: GPU time where every variant has one."""
    rows = summary[(summary["metric"] == metric.name) & ~summary["kind"].isin([CONTROL, PROBE]) & (summary["n"] > 0)]
    gpu = bool(len(rows)) and bool((rows["gpu_s"] > 0).all())
    rows = rows.assign(seconds=rows["gpu_s" if gpu else "wall_time_s"].astype(np.float64))
    rows = rows[rows["seconds"] > 0]
    if len(rows) < 2:
        return ""
    longest = rows["seconds"].max()
    unit, in_unit = (3600, "hours") if longest >= 3600 else (60, "minutes") if longest >= 60 else (1, "seconds")
    columns = (rows["variant"], rows["seconds"] / unit, rows["mean"], rows["sd"].fillna(0.0))
    points = [(str(name), float(at), float(mean), float(sd)) for name, at, mean, sd in zip(*columns, strict=True)]
    x = _scale([at for _, at, _, _ in points], _LEFT, _WIDTH - _RIGHT)
    y = _scale([end for _, _, mean, sd in points for end in (mean - sd, mean + sd)], _HEIGHT - _BOTTOM, _TOP)
    what = f"{'GPU ' if gpu else ''}time of a trial in {in_unit}"
    told = "; ".join(f"{name} {number(mean, metric)} in {at:.3g} {in_unit}" for name, at, mean, _ in points)
    title = f"{metric.name} of each variant against the {what}"
    marks = [*_axes(x, y, f"{metric.name} {metric.arrow}", what), *_points(points, x, y, metric)]
    scatter = svg.picture(identifier("cost", metric.name), _WIDTH, _HEIGHT, title, f"{told}.", marks, "scatter")
    strokes = "; the strokes are ± SD over seeds" if any(sd for *_, sd in points) else ""
    return scatter + note(f"{title}, means over seeds{strokes}.")


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = min(values), max(values)
    margin = 0.12 * (high - low) or abs(high) or 1.0
    return Scale(low - margin, high + margin, start, end)


def _axes(x: Scale, y: Scale, up: str, along: str) -> Iterator[str]:
    for tick in y.ticks(5):
        yield svg.line(x.start, y(tick), x.end, y(tick), "grid")
        yield svg.text(x.start - 6, y(tick) + 4, svg.tick_label(tick), "tick", "end")
    for tick in x.ticks(5):
        yield svg.line(x(tick), y.start, x(tick), y.start + 4, "grid")
        yield svg.text(x(tick), y.start + 17, svg.tick_label(tick), "tick", "middle")
    yield svg.text(0, 14, up, "head")
    yield svg.text(x.end, y.start + 36, along, "tick", "end")


def _points(points: Sequence[tuple[str, float, float, float]], x: Scale, y: Scale, metric: Metric) -> Iterator[str]:
    taken: list[Box] = [(x(a) - 6, y(m) - 6, x(a) + 6, y(m) + 6) for _, a, m, _ in points]
    for name, at, mean, sd in points:
        if sd:
            yield svg.line(x(at), y(mean - sd), x(at), y(mean + sd), "whisker")
        kind = "point baseline" if name == BASELINE else "point"
        yield svg.circle(x(at), y(mean), 4.5, kind, f"{name}: {number(mean, metric)}")
        yield _label(name, x(at), y(mean), x, taken)


def _label(name: str, at: float, height: float, x: Scale, taken: list[Box]) -> str:
    """The variant's name beside its dot where it covers no other; "" where there is no such place.

    The dot says the name under the pointer in any case.
    """
    width = svg.LETTER * len(name)
    beside = [(at + 9, height + 4), (at - 9 - width, height + 4)]
    starts = (at - width / 2, at - 5, at + 5 - width)
    for left, base in [*beside, *((start, base) for base in (height - 10, height + 19) for start in starts)]:
        box = (left, base - 10, left + width, base + 3)
        if _free(box, taken, x):
            taken.append(box)
            end = left + width < at  # so that a name that is narrower than thought stays at its dot
            return svg.text(left + width if end else left, base, name, "name", "end" if end else "start")
    return ""


def _free(box: Box, taken: Sequence[Box], x: Scale) -> bool:
    """Whether the box lies inside the axes and covers none of the others."""
    left, top, right, bottom = box
    inside = x.start <= left and right <= x.end + _RIGHT and top > _TOP - 8 and bottom < _HEIGHT - _BOTTOM
    return inside and all(right < b[0] or b[2] < left or bottom < b[1] or b[3] < top for b in taken)
