"""What the study cost, in words and as a picture."""

from __future__ import annotations

import re

import numpy as np
import pytest

from results.page.cost import cost, hours_in_all
from results.rows import study_table
from tests.results.studies import digits_study, large_study, summary_of, trial, with_trials


def _cost(trials):
    summary = summary_of(trials)
    return cost(study_table(summary, trials), summary, trials)


def test_the_hours_are_those_of_all_finished_trials() -> None:
    trials = with_trials(digits_study(), trial("cosine", 9, 2, status="FAILED", wall_time_s=9e9))
    assert hours_in_all(trials).startswith("12 finished trials took 0.37 trial-hours (22 m 24 s), none of it on a GPU.")
    trials["gpu_s"] = 90.0
    trials.attrs["gpu_hour_price"] = 2.0
    assert "22 m 24 s) and 0.30 GPU-hours (18 m 00 s), cost 0.60." in hours_in_all(trials)
    assert hours_in_all(trials.assign(wall_time_s=np.nan)) == ""


def test_each_variant_is_a_point_with_its_name_and_the_controls_are_none() -> None:
    trials = digits_study()
    trials["wall_time_s"] = trials["variant"].map(
        {"baseline": 60.0, "convnext": 90.0, "cosine": 120.0, "held-out": 1.0}
    )
    html = _cost(trials)
    points = re.findall(r'<circle class="point[^"]*" cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>(.*?)</title>', html)
    assert [title for *_, title in points] == ["baseline: 110.0", "convnext: 100.0", "cosine: 111.0"]
    xs, ys = [float(x) for x, *_ in points], [float(y) for _, y, _ in points]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1]) and xs[1] - xs[0] > 50
    assert ys[2] < ys[0] < ys[1]
    assert "time of a trial in minutes" in html
    assert "convnext 100.0 in 1.5 minutes" in html
    assert {"baseline", "convnext", "cosine"} <= set(re.findall(r'class="name"[^>]*>(.*?)</text>', html))


def test_no_name_covers_another() -> None:
    trials = large_study(variants=12, seeds=2)
    html = _cost(trials)
    names = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">(.*?)</text>', html)
    boxes = []
    for x, y, anchor, name in names:
        left = float(x) - (6.0 * len(name) if anchor == "end" else 0)
        boxes.append((left, float(y) - 9, left + 6.0 * len(name), float(y)))
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def test_gpu_time_is_the_cost_where_every_variant_has_it() -> None:
    trials = digits_study()
    trials["gpu_s"] = 7200.0
    trials.loc[trials["variant"] == "cosine", "gpu_s"] = 3600.0
    assert "GPU time of a trial in hours" in _cost(trials)
