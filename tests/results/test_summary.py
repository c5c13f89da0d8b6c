"""A row per variant and metric: which rows, in which order, with which statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results.alpha_spending import ALPHA, PLAN_ALPHA
from results.metrics import METRICS, Metric
from results.statistics import contrasts
from results.summary import present_metrics, summarise, variants
from tests.results.studies import digits_study, trial

FID, MIOU = METRICS[0], METRICS[3]


def test_present_metrics_are_those_of_finished_trials_in_their_order(trials: pd.DataFrame) -> None:
    assert present_metrics(trials) == (FID, MIOU)
    assert present_metrics(trials[trials["status"] == "FAILED"]) == ()


def test_baseline_is_first_and_controls_last_whatever_their_positions() -> None:
    names, kinds = ["control", "late", "early", "baseline"], ["control", "variant", "variant", "variant"]
    columns = {"variant": names, "kind": kinds, "delta": "-", "position": [0, 3, 1, 2], "status": "FINISHED"}
    trials = pd.DataFrame(columns)
    found = variants(trials)
    assert found["variant"].tolist() == ["baseline", "early", "late", "control"]
    assert list(found.columns) == ["variant", "kind", "delta"]


def _of(summary: pd.DataFrame, variant: str, metric: Metric) -> pd.Series:
    return summary[(summary["variant"] == variant) & (summary["metric"] == metric.name)].iloc[0]


@pytest.fixture
def summary(trials: pd.DataFrame) -> pd.DataFrame:
    return summarise(trials, [FID, MIOU])


def test_summary_has_a_row_for_every_variant_and_metric(summary: pd.DataFrame) -> None:
    assert list(zip(summary["variant"], summary["metric"], strict=True)) == [
        (variant, metric)
        for variant in ("baseline", "convnext", "adagn", "held-out")
        for metric in ("fid_digits", "miou")
    ]


def test_summary_of_the_baseline_is_descriptive_only(summary: pd.DataFrame) -> None:
    row = _of(summary, "baseline", FID)
    assert (row["n"], row["mean"], row["sd"], row["parameters"], row["wall_time_s"]) == (3, 11.0, 1.0, 1000.0, 61.0)
    assert row["verdict"] == ""
    assert row[["difference", "ci_low", "ci_high", "p", "floor"]].isna().all()


def test_a_failed_seed_is_counted_and_its_number_is_not_used(summary: pd.DataFrame) -> None:
    row = _of(summary, "convnext", FID)
    assert (row["n"], row["failed"], row["pairs"]) == (2, 1, 2)
    assert row["mean"] == pytest.approx(8.4)
    assert row["difference"] == pytest.approx(-2.1)  # seeds 0 and 1: -2.0 and -2.2
    assert math.isnan(row["ci_low"])
    assert (row["verdict"], row["level"]) == ("two seeds: no claim", "descriptive")


def test_costs_are_means_over_finished_trials() -> None:
    cost = {"parameters": 10.0, "wall_time_s": 60.0, "gpu_s": 30.0}
    more = {"parameters": 10.0, "wall_time_s": 80.0, "gpu_s": 50.0}
    dear = {"parameters": 99.0, "wall_time_s": 1e6, "gpu_s": 1e6, "fid_digits": 1.0}
    rows = [
        trial("baseline", 0, 0, fid_digits=1.0, **cost),
        trial("baseline", 1, 0, fid_digits=2.0, **more),
        *(
            trial("baseline", 2 + i, 0, status=status, **dear)
            for i, status in enumerate(("FAILED", "KILLED", "RUNNING"))
        ),
        trial("other", 0, 1, status="FAILED", **dear),
    ]
    summary = summarise(pd.DataFrame(rows), [FID])
    row, failed = _of(summary, "baseline", FID), _of(summary, "other", FID)
    assert (row["parameters"], row["wall_time_s"], row["gpu_s"], row["failed"]) == (10.0, 70.0, 40.0, 1)
    assert failed[["parameters", "wall_time_s", "gpu_s"]].isna().all()
    assert (failed["n"], failed["failed"]) == (0, 1)


def test_a_variant_without_numbers_says_so(summary: pd.DataFrame) -> None:
    row = _of(summary, "adagn", FID)
    assert (row["n"], row["failed"], row["pairs"], row["verdict"]) == (0, 0, 0, "no paired seeds")
    assert math.isnan(row["mean"])


def test_controls_are_not_tested(summary: pd.DataFrame) -> None:
    row = _of(summary, "held-out", FID)
    assert (row["n"], row["mean"], row["verdict"]) == (1, 2.0, "")
    assert math.isnan(row["sd"])
    assert math.isnan(row["difference"])


def test_p_is_corrected_within_a_metric_across_its_variants() -> None:
    trials = digits_study(seeds=5)
    both = summarise(trials, [FID, MIOU])
    alone = summarise(trials, [MIOU])
    assert alone["p"].dropna().tolist() == both.loc[both["metric"] == "miou", "p"].dropna().tolist()
    values = [trials.loc[trials["variant"] == name, "miou"].tolist() for name in ("baseline", "convnext", "cosine")]
    expected = contrasts(np.array(values)).p() * ALPHA / PLAN_ALPHA
    assert alone["p"].dropna().tolist() == pytest.approx(np.minimum(expected, 1.0).tolist())


def test_the_spread_over_seeds_has_a_part_from_training_and_one_from_sampling() -> None:
    sets: dict[str, Any] = {"params.sampling.sampling_repeats": "4"}
    rows = [
        trial("baseline", i, 0, fid_digits=fid, fid_digits_repeats_sd=2.0, **sets) for i, fid in enumerate((7, 10, 13))
    ]
    row = _of(summarise(pd.DataFrame(rows), [FID]), "baseline", FID)
    assert row["sd"] == 3.0
    assert row["sd_sampling"] == 2.0
    assert row["sd_training"] == pytest.approx((9 - 4 / 4) ** 0.5)  # a seed's figure is the mean of four sets
    rows[0]["fid_digits"] = rows[2]["fid_digits"] = 10
    assert _of(summarise(pd.DataFrame(rows), [FID]), "baseline", FID)["sd_training"] == 0.0


def test_while_a_seed_runs_its_row_claims_nothing() -> None:
    trials = digits_study(seeds=4)
    running = (trials["variant"] == "convnext") & (trials["seed"] == 3)
    trials.loc[running, ["status", "fid_digits"]] = ["RUNNING", math.nan]
    summary = summarise(trials, [FID])
    assert _of(summary, "convnext", FID)["verdict"] == "no claim yet: 3 of 4 seeds"
    assert not math.isnan(_of(summary, "cosine", FID)["p"])


def test_a_probe_is_a_row_only_where_it_did_not_finish(probed: pd.DataFrame) -> None:
    rows = ["baseline", "cosine", "block10-t150", "block5-t150", "raw_pixels"]
    assert variants(probed)["variant"].tolist() == rows
    assert summarise(probed, [MIOU])["variant"].tolist() == rows


def test_a_probe_is_not_tested_and_does_not_count_in_the_correction(probed: pd.DataFrame) -> None:
    summary = summarise(probed, [MIOU])
    probe, cosine = _of(summary, "block10-t150", MIOU), _of(summary, "cosine", MIOU)
    assert (probe["n"], probe["failed"], probe["mean"], probe["verdict"]) == (1, 1, 0.5, "")
    assert math.isnan(probe["p"])
    assert (cosine["pairs"], cosine["verdict"]) == (2, "two seeds: no claim")


def test_miou_is_present_for_the_heat_map_where_the_baseline_failed(probed: pd.DataFrame) -> None:
    assert present_metrics(probed[probed["kind"] == "probe"]) == (MIOU,)


def test_a_metric_of_ones_own_stands_after_ours_with_its_own_good_direction(trials: pd.DataFrame) -> None:
    own = trials.assign(coverage=0.5 + 0.01 * trials["seed"])
    own.attrs["higher_is_better"] = {"coverage": True, "never_measured": False}
    *ours, coverage = present_metrics(own)
    assert tuple(ours) == (FID, MIOU)
    assert (coverage.name, coverage.lower_is_better, coverage.arrow) == ("coverage", False, "↑")
    assert set(summarise(own, [coverage])["metric"]) == {"coverage"}
