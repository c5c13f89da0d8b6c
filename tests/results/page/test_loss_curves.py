"""The losses as drawn: their mean, their band, and the axes that all share."""

from __future__ import annotations

import re

import numpy as np
import pytest

from results.page.loss_curves import loss_curves
from results.shown import Shown


def _shown(*losses: list[float]) -> dict[int, Shown]:
    return {seed: Shown(loss=np.array([np.arange(1, len(loss) + 1), loss])) for seed, loss in enumerate(losses)}


def _points(marks: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in marks.split(" "))]


def _curves(html: str) -> list[dict[str, list[tuple[float, float]]]]:
    found = [
        re.findall(r'class="(curve|curve reference|band|curve second) ?" points="(.*?)"', p)
        for p in html.split("<svg")[1:]
    ]
    return [{kind: _points(points) for kind, points in plot} for plot in found]


def test_the_mean_runs_in_a_band_from_the_least_to_the_greatest() -> None:
    html = loss_curves({"baseline": _shown([1.0, 0.1], [3.0, 0.3])})
    (plot,) = _curves(html)
    (x1, mean1), (x2, mean2) = plot["curve"]
    band = plot["band"]
    assert [x for x, _ in band] == [x1, x2, x2, x1]
    upper, lower = [y for _, y in band[:2]], [y for _, y in band[:1:-1]]
    # A log axis from the least of all losses to the greatest: 0.1 below, 3 above.
    height = lower[1] - upper[0]
    shares = [(lower[1] - y) / height for y in (*upper, *lower, mean1, mean2)]
    assert shares == pytest.approx(np.log(np.array([3, 0.3, 1, 0.1, 2, 0.2]) / 0.1) / np.log(30), abs=0.01)
    assert "mean over seeds, in a band from the least to the greatest of the seeds" in html
    assert "Mean over 2 seeds: from 2 at step 1 to 0.2 at step 2." in html


def test_each_variant_has_the_baselines_curve_behind_it_on_the_same_axes() -> None:
    html = loss_curves({"baseline": _shown([1.0, 0.5]), "wide": _shown([1.0, 0.25])})
    baseline, wide = _curves(html)
    assert "curve reference" not in baseline and "band" not in wide
    assert wide["curve reference"] == baseline["curve"]
    assert wide["curve"][1][1] > baseline["curve"][1][1]  # further down


def test_losses_that_are_negative_or_missing_are_drawn_on_a_linear_axis_without_gaps() -> None:
    (plot,) = _curves(loss_curves({"baseline": _shown([1.0, float("nan"), -1.0])}))
    assert len(plot["curve"]) == 2
    assert loss_curves({"baseline": _shown([float("nan")])}) == ""
    assert loss_curves({"baseline": {0: Shown()}}) == ""


def test_the_classifiers_losses_are_folded_away_where_they_have_a_course() -> None:
    losses = np.array([[10, 20], [1.0, 0.5], [1.5, float("nan")]])
    html = loss_curves({"baseline": {0: Shown(classifier=losses)}})
    assert "<details>" in html
    (plot,) = _curves(html)
    assert (len(plot["curve"]), len(plot["curve second"])) == (2, 1)
    assert loss_curves({"baseline": {0: Shown(classifier=losses[:, :1])}}) == ""
