"""What is behind a variant's one mean, from trials as MLflow gives them and from made-up ones."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from results.breakdowns import fid_by_samples, iou_by_class, miou_by_block_and_timestep, ranking_flips
from results.metrics import METRICS
from results.summary import present_metrics, summarise
from results.trials import load_trials
from tests.results.mlflow_store import STUDY, Store


def test_a_cell_of_the_heat_map_is_the_mean_over_the_seeds_that_finished(probed: pd.DataFrame) -> None:
    cells = miou_by_block_and_timestep(probed)
    assert (cells.index.tolist(), cells.columns.tolist()) == ([5, 10], [50, 150])  # numbers: 5 before 10
    assert (cells.index.name, cells.columns.name) == ("block", "timestep")
    assert cells.loc[10].tolist() == pytest.approx([0.35, 0.5])
    assert cells.loc[5].tolist() == pytest.approx([0.2, math.nan], nan_ok=True)


@pytest.mark.parametrize("study", [STUDY, "empty-too"])
def test_without_probes_the_heat_map_is_empty(store: Store, trials: pd.DataFrame, study: str) -> None:
    if study != STUDY:
        store.study(study)
        trials = load_trials(store.uri, study)
    assert miou_by_block_and_timestep(trials).empty
    assert iou_by_class(trials).empty
    assert fid_by_samples(trials).empty


def test_only_finished_probes_with_a_figure_are_cells(probed: pd.DataFrame) -> None:
    running = probed["variant"].eq("block10-t50") & probed["seed"].eq(1)  # anew, in the run of its first time
    trials = probed.assign(status=probed["status"].mask(running, "RUNNING"))
    assert miou_by_block_and_timestep(trials).loc[10, 50] == pytest.approx(0.3)
    unscored = probed["variant"].eq("block5-t50")
    trials = probed.assign(miou=probed["miou"].mask(unscored))
    assert miou_by_block_and_timestep(trials).index.tolist() == [10]


def test_probes_that_all_failed_make_an_empty_heat_map(probed: pd.DataFrame) -> None:
    assert miou_by_block_and_timestep(probed[probed["status"] == "FAILED"]).empty


def _trials(*rows: dict[str, object]) -> pd.DataFrame:
    known = {"kind": "variant", "delta": "-", "seed": 0, "status": "FINISHED"}
    return pd.DataFrame([{**known, "position": i, **row} for i, row in enumerate(rows)])


def test_iou_by_class_is_a_mean_over_finished_seeds_in_the_tables_order() -> None:
    trials = _trials(
        {"variant": "raw", "kind": "control", "iou/cat": 0.1},
        {"variant": "cosine", "iou/cat": 0.5, "iou/dog": 0.2},
        {"variant": "cosine", "seed": 1, "iou/cat": 0.7},
        {"variant": "cosine", "seed": 2, "iou/cat": 0.0, "status": "FAILED"},
        {"variant": "baseline", "iou/cat": 0.4, "iou/dog": 0.3, "miou": 0.35},
        {"variant": "broken", "status": "FAILED"},
        {"variant": "block5-t50", "kind": "probe", "iou/cat": 0.9},
        {"variant": "block5-t50", "kind": "probe", "seed": 1, "status": "FAILED"},
    )
    iou = iou_by_class(trials)
    assert iou.index.tolist() == ["baseline", "cosine", "raw"]
    assert iou.columns.tolist() == ["cat", "dog"]
    assert iou["cat"].tolist() == pytest.approx([0.4, 0.6, 0.1])
    assert iou["dog"].tolist() == pytest.approx([0.3, 0.2, math.nan], nan_ok=True)


def _at_n(name: str, half: float, whole: float, **more: object) -> dict[str, object]:
    fid = {"fid_half": half, "fid": whole, "fid_extrapolated": 2 * whole - half}
    return {"variant": name, "samples": 100.0, **fid, **more}


def test_fid_by_samples_has_a_row_for_all_that_were_measured() -> None:
    trials = _trials(
        _at_n("baseline", 30, 20), _at_n("baseline", 32, 24, seed=1), {"variant": "raw_pixels", "kind": "control"}
    )
    fid = fid_by_samples(trials)
    assert fid.columns.tolist() == ["samples", "fid_half", "fid", "fid_extrapolated"]
    assert (fid.index.tolist(), fid.to_numpy().tolist()) == (["baseline"], [[100, 31, 22, 13]])


def test_ranking_flips_are_the_pairs_in_opposite_order_at_infinity() -> None:
    trials = _trials(
        _at_n("baseline", 30, 20),  # 10
        _at_n("cosine", 25, 21),  # 17: still worse than the baseline
        _at_n("adagn", 40, 22),  # 4: now the best of all
        _at_n("same", 26, 20),  # 14: level with the baseline at N, so they do not change places
        _at_n("real_images", 90, 47, kind="control"),  # 4: compared with none
        {"variant": "broken", "status": "FAILED"},
    )
    summary = summarise(trials, present_metrics(trials))
    assert ranking_flips(summary, "fid") == [("baseline", "adagn"), ("cosine", "adagn"), ("adagn", "same")]
    assert ranking_flips(summary, "kid") == []
    assert ranking_flips(summarise(trials, [METRICS[1]]), "fid") == []
