"""The forest plot: its marks stand where the figures say, and its words are the table's."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from results.page.forest_plot import differences_by_seed, forest_plots
from results.rows import study_table
from tests.results.studies import EVIL, digits_study, large_study, summary_of, trial, with_trials


def _drawn(trials: pd.DataFrame) -> str:
    summary = summary_of(trials)
    return forest_plots(study_table(summary, trials), summary, trials)


def _plots(html: str) -> dict[str, str]:
    return {re.findall('class="head"[^>]*>(\\S+)', plot)[0]: plot for plot in re.findall("<svg.*?</svg>", html)}


def _axis(plot: str) -> tuple[float, float]:
    """(units of one, where 0 is), as the axis's own labels have it."""
    ticks = re.findall(r'class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="middle">([−+]?[\d.]+)</text>', plot)
    points = [(float(text.replace("−", "-")), float(x)) for x, text in ticks]
    (low, at_low), (high, at_high) = points[0], points[-1]
    per_one = (at_high - at_low) / (high - low)
    return per_one, at_low - per_one * low


def _circles(plot: str, kind: str) -> list[tuple[float, str]]:
    found = re.findall(rf'<circle class="{kind}[^"]*" cx="([\d.]+)"[^>]*><title>(.*?)</title>', plot)
    return [(float(x), title) for x, title in found]


def test_a_dot_stands_where_the_difference_of_its_seed_does() -> None:
    trials = digits_study()
    plot = _plots(_drawn(trials))["fid_digits"]
    per_one, zero = _axis(plot)
    drawn = {title: (x - zero) / per_one for x, title in _circles(plot, "seed")}
    wanted = {
        f"{name}, seed {seed}": trials.loc[(trials["variant"] == name) & (trials["seed"] == seed), "fid_digits"].item()
        - trials.loc[(trials["variant"] == "baseline") & (trials["seed"] == seed), "fid_digits"].item()
        for name in ("convnext", "cosine")
        for seed in (0, 1, 2)
    }
    assert {title.split(":")[0]: x for title, x in drawn.items()} == pytest.approx(wanted, abs=0.1)
    assert "convnext, seed 1: −9.0" in drawn


def test_the_mark_and_the_interval_are_the_summarys() -> None:
    trials = digits_study()
    summary = summary_of(trials)
    plot = _plots(_drawn(trials))["fid_digits"]
    per_one, zero = _axis(plot)
    lines = re.findall(r'<line class="interval \w+" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"/>', plot)
    spans = [((float(a) - zero) / per_one, (float(b) - zero) / per_one) for a, y, b, end in lines if y == end]
    rows = summary[(summary["metric"] == "fid_digits") & (summary["pairs"] > 0)]
    assert np.array(spans) == pytest.approx(rows[["ci_low", "ci_high"]].to_numpy(), abs=0.1)
    marks = [(x - zero) / per_one for x, _ in _circles(plot, "mark")]
    assert marks == pytest.approx(rows["difference"].tolist(), abs=0.1)


def test_the_words_beside_and_for_who_cannot_see_it_are_the_tables() -> None:
    html = _drawn(digits_study())
    assert list(_plots(html)) == ["fid_digits", "miou"]
    plot = _plots(html)["fid_digits"]
    for words in ("−10.0 [−16.1, −3.5]", "helps, confirmed", "← better", "worse →", "baseline 110.0 ± 2.0"):
        assert f">{words}</text>" in plot
    assert "← worse" in _plots(html)["miou"]
    (identity,) = re.findall('role="img"[^>]*aria-labelledby="(\\S+) ', plot)
    assert f'<title id="{identity}">fid_digits: difference of each variant from the baseline, 110.0 ± 2.0<' in plot
    (told,) = re.findall("<desc[^>]*>(.*?)</desc>", plot)
    assert told.startswith("convnext −10.0 [−16.1, −3.5], helps, confirmed, p 0.013; cosine ")
    assert "By seed: convnext −10.0, −9.0, −11.0; cosine" in told


def test_what_did_not_finish_or_is_no_number_is_no_dot() -> None:
    failed = trial("convnext", 7, 1, status="FAILED", fid_digits=3.0)
    alone = trial("cosine", 8, 2, fid_digits=3.0)  # the baseline has no such seed
    trials = with_trials(digits_study(), failed, alone, trial("baseline", 7, 0, fid_digits=1.0))
    trials.loc[(trials["variant"] == "convnext") & (trials["seed"] == 2), "fid_digits"] = math.nan
    assert differences_by_seed(trials, "fid_digits")["convnext"] == {0: -10.0, 1: -9.0}
    assert list(differences_by_seed(trials, "fid_digits")["cosine"]) == [0, 1, 2]


def test_one_seed_has_a_dot_and_no_interval() -> None:
    plot = _plots(_drawn(digits_study(seeds=1)))["fid_digits"]
    assert 'class="interval' not in plot
    assert len(_circles(plot, "seed")) == 2
    assert ">one seed</text>" in plot
    assert "interval" not in _drawn(digits_study(seeds=1))
    assert "Δ [interval]" not in _drawn(digits_study(seeds=2)) and "two seeds" in _drawn(digits_study(seeds=2))


def test_a_variant_far_off_is_an_arrow_and_the_others_keep_their_room() -> None:
    trials = large_study(variants=6, seeds=3)
    trials.loc[trials["variant"] == "variant-5", "fid_digits"] += 10_000
    plot = _plots(_drawn(trials))["fid_digits"]
    assert 'class="arrow' in plot
    assert len(_circles(plot, "mark")) == 4
    per_one, _ = _axis(plot)
    assert per_one > 1  # units of the picture for one of FID
    assert ">+9998.0 [" in plot  # as text all the same


def test_texts_are_texts_and_long_names_are_cut_with_the_whole_under_the_pointer() -> None:
    name = "a-name-that-is-much-longer-than-its-column"
    more = [trial(EVIL, s, 7, fid_digits=90.0 + s) for s in range(3)]
    more += [trial(name, s, 8, fid_digits=91.0 + s) for s in range(3)]
    html = _drawn(with_trials(digits_study(), *more))
    assert "<script" not in html
    assert f">a-name-that-is-much-l…<title>{name}</title></text>" in html


def test_without_a_pair_there_is_no_section() -> None:
    trials = digits_study()
    assert _drawn(trials[trials["variant"] == "baseline"]) == ""
    assert _drawn(trials[trials["variant"] != "baseline"]) == ""
