"""The trials' table from a real MLflow store with the tags that the driver writes, and its summary."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from results import table
from results.sheet import flat_columns, sheet_of
from results.table import (
    METRICS,
    TRIAL_COLUMNS,
    Metric,
    fid_by_samples,
    heat_map,
    iou_by_class,
    load_trials,
    present_metrics,
    ranking_flips,
    summarise,
    variants,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

STUDY = "digits-ablations"
FID, MIOU = METRICS[0], METRICS[3]


class Store:
    """A new MLflow database, and the driver's way of writing a trial into it."""

    def __init__(self, path: Path) -> None:
        from mlflow import MlflowClient

        self.uri = f"sqlite:///{path}"
        self.client: MlflowClient = MlflowClient(self.uri)
        self.started = 0

    def study(self, name: str) -> str:
        return self.client.create_experiment(name, artifact_location=f"file:///nowhere/{name}")

    def trial(
        self,
        study: str,
        variant: str,
        seed: int,
        metrics: dict[str, float],
        status: str = "FINISHED",
        params: dict[str, str] | None = None,
        **tags: str,
    ) -> str:
        self.started += 1000
        known = {"variant": variant, "seed": str(seed), "kind": "variant", "position": "0", "delta": "-"}
        run = self.client.create_run(study, self.started, {**known, **tags}, f"{variant}-seed{seed}")
        run_id = str(run.info.run_id)
        for name, text in (params or {"unet.block": "resnet"}).items():
            self.client.log_param(run_id, name, text)
        for name, value in metrics.items():
            self.client.log_metric(run_id, name, value)
        if status != "RUNNING":
            self.client.set_terminated(run_id, status)
        return run_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("mlflow") / "runs.db")
    study = store.study(STUDY)
    convnext = {"position": "1", "delta": "unet.block=convnext"}
    control = {"kind": "control", "position": "3", "delta": "real images: the floor"}
    for seed, fid in ((2, 12.0), (0, 10.0), (1, 11.0)):
        cost = {"parameters": 1000.0, "wall_time_s": 60.0 + seed}
        store.trial(study, "baseline", seed, {"fid_digits": fid, "miou": 0.5, **cost}, trial_key=f"key-{seed}")
    store.trial(study, "convnext", 0, {"fid_digits": 8.0}, **convnext, status_note="resumed")
    store.trial(study, "convnext", 1, {"fid_digits": 8.8}, **convnext)
    store.trial(study, "convnext", 2, {"fid_digits": 3.0}, "FAILED", **convnext, error="MemoryError: no")
    store.trial(study, "adagn", 0, {}, "KILLED", position="2")
    store.trial(study, "adagn", 1, {}, "RUNNING", position="2")
    store.trial(study, "held-out", 0, {"fid_digits": 2.0}, **control)
    by_hand = store.client.create_run(study, run_name="tried something")
    store.client.set_terminated(by_hand.info.run_id)
    return store


@pytest.fixture(scope="module")
def trials(store: Store) -> pd.DataFrame:
    return load_trials(store.uri, STUDY)


def test_trials_stand_by_position_then_seed_without_runs_made_by_hand(trials: pd.DataFrame) -> None:
    assert list(zip(trials["variant"], trials["seed"], strict=True)) == [
        *(("baseline", 0), ("baseline", 1), ("baseline", 2)),
        *(("convnext", 0), ("convnext", 1), ("convnext", 2)),
        *(("adagn", 0), ("adagn", 1), ("held-out", 0)),
    ]


def test_columns_are_the_tags_then_metrics_then_settings(trials: pd.DataFrame) -> None:
    metrics = ["fid_digits", "miou", "parameters", "wall_time_s"]
    assert list(trials.columns) == [*TRIAL_COLUMNS, *metrics, "params.unet.block"]


def test_a_trial_carries_what_the_driver_wrote(trials: pd.DataFrame) -> None:
    assert trials["status"].tolist() == ["FINISHED"] * 5 + ["FAILED", "KILLED", "RUNNING", "FINISHED"]
    failed, resumed = trials.iloc[5], trials.iloc[3]
    assert (failed["error"], failed["delta"]) == ("MemoryError: no", "unet.block=convnext")
    assert (resumed["status_note"], resumed["error"]) == ("resumed", "")
    assert trials["trial_key"].iloc[0] == "key-0"
    assert trials["params.unet.block"].eq("resnet").all()
    assert trials["fid_digits"].iloc[0] == 10.0
    assert math.isnan(trials["miou"].iloc[3])
    assert pd.api.types.is_integer_dtype(trials["seed"])


def test_every_page_is_read(store: Store, trials: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_PAGE", 3)
    pd.testing.assert_frame_equal(load_trials(store.uri, STUDY), trials)


def test_the_latest_value_and_the_latest_run_of_a_seed_count(store: Store) -> None:
    study = store.study("changed")
    store.trial(study, "baseline", 0, {"fid_digits": 99.0})
    latest = store.trial(study, "baseline", 0, {"fid_digits": 5.0})
    store.client.log_metric(latest, "fid_digits", 4.0, step=10)
    loaded = load_trials(store.uri, "changed")
    assert loaded[["run_id", "fid_digits"]].to_numpy().tolist() == [[latest, 4.0]]


def test_a_superseded_run_does_not_count_though_it_started_last(store: Store) -> None:
    study = store.study("changed-back")
    resumed = store.trial(study, "baseline", 0, {"fid_digits": 5.0}, superseded="false")
    store.trial(study, "baseline", 0, {"fid_digits": 99.0}, superseded="true")
    assert load_trials(store.uri, "changed-back")["run_id"].tolist() == [resumed]


def test_values_that_are_not_finite_are_read_as_such_and_not_averaged(store: Store) -> None:
    study = store.study("diverged")
    for seed, fid in enumerate((math.inf, math.nan, 7.0)):
        store.trial(study, "baseline", seed, {"fid_digits": fid})
    loaded = load_trials(store.uri, "diverged")
    assert loaded["fid_digits"].iloc[0] == math.inf
    summary = summarise(loaded, [FID])
    assert summary[["n", "mean"]].to_numpy().tolist() == [[1, 7.0]]


def test_a_study_without_trials_is_empty_all_the_way(store: Store) -> None:
    store.study("empty")
    loaded = load_trials(store.uri, "empty")
    assert list(loaded.columns) == list(TRIAL_COLUMNS)
    assert present_metrics(loaded) == ()
    assert summarise(loaded, [FID]).empty


def test_an_unknown_study_is_one_line_that_names_those_that_exist(store: Store) -> None:
    with pytest.raises(LookupError, match=rf"no study 'digit'; .*{STUDY}") as error:
        load_trials(store.uri, "digit")
    assert "\n" not in str(error.value)
    assert "Default" not in str(error.value)


def test_a_deleted_study_does_not_exist(store: Store) -> None:
    store.client.delete_experiment(store.study("gone"))
    with pytest.raises(LookupError, match="no study 'gone'"):
        load_trials(store.uri, "gone")


def test_a_missing_database_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"there is no MLflow database .*typo\.db"):
        load_trials(f"sqlite:///{tmp_path / 'typo.db'}", STUDY)
    assert not list(tmp_path.iterdir())


def test_present_metrics_are_those_of_finished_trials_in_their_order(trials: pd.DataFrame) -> None:
    assert present_metrics(trials) == (FID, MIOU)
    assert present_metrics(trials[trials["status"] == "FAILED"]) == ()
    assert present_metrics(trials, among=[MIOU]) == (MIOU,)


def test_baseline_is_first_and_controls_last_whatever_their_positions() -> None:
    names, kinds = ["control", "late", "early", "baseline"], ["control", "variant", "variant", "variant"]
    columns = {"variant": names, "kind": kinds, "delta": "-", "position": [0, 3, 1, 2], "status": "FINISHED"}
    trials = pd.DataFrame(columns)
    assert variants(trials)["variant"].tolist() == ["baseline", "early", "late", "control"]


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
    assert row[["difference", "ci_low", "ci_high", "p", "p_holm"]].isna().all()


def test_a_failed_seed_is_counted_and_its_number_is_not_used(summary: pd.DataFrame) -> None:
    row = _of(summary, "convnext", FID)
    assert (row["n"], row["failed"], row["pairs"]) == (2, 1, 2)
    assert row["mean"] == pytest.approx(8.4)
    assert row["difference"] == pytest.approx(-2.1)  # seeds 0 and 1: -2.0 and -2.2
    assert row["ci_low"] == pytest.approx(-2.1 - 12.7062 * 0.1, abs=1e-3)  # t_1 = 12.7062, SD / sqrt(2) = 0.1
    assert (row["p"], row["verdict"]) == (0.5, "helps")


def test_a_variant_without_numbers_says_so(summary: pd.DataFrame) -> None:
    row = _of(summary, "adagn", FID)
    assert (row["n"], row["failed"], row["pairs"], row["verdict"]) == (0, 0, 0, "no paired seeds")
    assert math.isnan(row["mean"])


def test_controls_are_not_tested(summary: pd.DataFrame) -> None:
    row = _of(summary, "held-out", FID)
    assert (row["n"], row["mean"], row["verdict"]) == (1, 2.0, "")
    assert math.isnan(row["sd"])
    assert math.isnan(row["difference"])


def test_holm_corrects_within_a_metric_across_its_variants() -> None:
    shifts = {"baseline": 0.0, "a": 1.0, "b": 2.0}
    rows = [
        {"variant": name, "kind": "variant", "delta": "-", "position": i, "seed": seed, "status": "FINISHED"}
        | {"fid_digits": 10 + seed + shift * (1 + 0.1 * seed), "miou": 0.5 + 0.01 * shift * (1 + seed)}
        for i, (name, shift) in enumerate(shifts.items())
        for seed in range(6)
    ]
    summary = summarise(pd.DataFrame(rows), [FID, MIOU])
    tested = summary[summary["variant"] != "baseline"]
    assert tested["p"].tolist() == pytest.approx([1 / 32] * 4)
    assert tested["p_holm"].tolist() == pytest.approx([2 / 32] * 4)  # two tests a metric, not four
    assert tested["verdict"].tolist() == ["hurts", "helps", "hurts", "helps"]


def _probe(store: Store, study: str, block: int, timestep: int, seed: int, miou: float | None, **tags: str) -> None:
    params = {"segmentation.blocks": f"[{block}]", "segmentation.timesteps": f"[{timestep}]"}
    status = "FINISHED" if miou is not None else "FAILED"
    metrics = {} if miou is None else {"miou": miou}
    tags = {"kind": "probe", "position": "2", **tags}
    store.trial(study, f"block{block}-t{timestep}", seed, metrics, status, params, **tags)


@pytest.fixture(scope="module")
def probed(store: Store) -> pd.DataFrame:
    """A study with a heat map in which a cell has failed altogether, and another in one of its two seeds."""
    study = store.study("probed")
    for seed in (0, 1):
        params = {"segmentation.blocks": "[5, 10]", "segmentation.timesteps": "[50, 150]"}
        store.trial(study, "baseline", seed, {"miou": 0.6 + 0.1 * seed}, params=params)
        store.trial(study, "cosine", seed, {"miou": 0.7 + 0.1 * seed}, params=params, position="1")
        store.trial(study, "raw_pixels", seed, {"miou": 0.1}, params=params, position="0", kind="control")
        _probe(store, study, 10, 50, seed, 0.3 + 0.1 * seed)
        _probe(store, study, 5, 50, seed, 0.2)
        _probe(store, study, 10, 150, seed, 0.5 if seed else None, error="MemoryError")
        _probe(store, study, 5, 150, seed, None, error="OSError")
    return load_trials(store.uri, "probed")


def test_a_cell_of_the_heat_map_is_the_mean_over_the_seeds_that_finished(probed: pd.DataFrame) -> None:
    cells = heat_map(probed)
    assert (cells.index.tolist(), cells.columns.tolist()) == ([5, 10], [50, 150])  # numbers: 5 before 10
    assert (cells.index.name, cells.columns.name) == ("block", "timestep")
    assert cells.loc[10].tolist() == pytest.approx([0.35, 0.5])
    assert cells.loc[5].tolist() == pytest.approx([0.2, math.nan], nan_ok=True)


@pytest.mark.parametrize("study", [STUDY, "empty-too"])
def test_without_probes_the_heat_map_is_empty(store: Store, trials: pd.DataFrame, study: str) -> None:
    if study != STUDY:
        store.study(study)
        trials = load_trials(store.uri, study)
    assert heat_map(trials).empty
    assert iou_by_class(trials).empty
    assert fid_by_samples(trials).empty


def test_only_finished_probes_with_a_figure_are_cells(probed: pd.DataFrame) -> None:
    running = probed["variant"].eq("block10-t50") & probed["seed"].eq(1)  # anew, in the run of its first time
    trials = probed.assign(status=probed["status"].mask(running, "RUNNING"))
    assert heat_map(trials).loc[10, 50] == pytest.approx(0.3)
    unscored = probed["variant"].eq("block5-t50")
    trials = probed.assign(miou=probed["miou"].mask(unscored))
    assert heat_map(trials).index.tolist() == [10]


def test_probes_that_all_failed_make_an_empty_heat_map(probed: pd.DataFrame) -> None:
    assert heat_map(probed[probed["status"] == "FAILED"]).empty


def test_a_probe_is_a_row_only_where_it_did_not_finish(probed: pd.DataFrame) -> None:
    rows = ["baseline", "cosine", "block10-t150", "block5-t150", "raw_pixels"]
    assert variants(probed)["variant"].tolist() == rows
    assert summarise(probed, [MIOU])["variant"].tolist() == rows


def test_a_probe_is_not_tested_and_does_not_count_in_the_correction(probed: pd.DataFrame) -> None:
    summary = summarise(probed, [MIOU])
    probe, cosine = _of(summary, "block10-t150", MIOU), _of(summary, "cosine", MIOU)
    assert (probe["n"], probe["failed"], probe["mean"], probe["verdict"]) == (1, 1, 0.5, "")
    assert math.isnan(probe["p"])
    assert cosine["p_holm"] == cosine["p"] == 0.5


def test_miou_is_present_for_the_heat_map_where_the_baseline_failed(probed: pd.DataFrame) -> None:
    assert present_metrics(probed[probed["kind"] == "probe"]) == (MIOU,)


def test_the_papers_figures_are_numbers_of_a_variant(store: Store) -> None:
    study = store.study("published")
    store.trial(study, "baseline", 0, {"fid": 40.0, "kid": 0.1}, published_fid="47.081")
    store.trial(study, "baseline", 1, {"fid": 41.0})  # of an earlier session, before the paper was known
    store.trial(study, "mine", 0, {"fid": 39.0}, position="1")
    store.trial(study, "cosine", 0, {}, "FAILED", position="2", published_fid="46.541")
    loaded = load_trials(store.uri, "published")
    assert list(loaded.columns) == [*TRIAL_COLUMNS, "fid", "kid", "published_fid", "params.unet.block"]
    assert loaded["published_fid"].tolist() == pytest.approx([47.081, math.nan, math.nan, 46.541], nan_ok=True)
    summary = summarise(loaded, [METRICS[1], METRICS[2]])
    fid, kid = (summary.loc[summary["metric"] == name, "published"].tolist() for name in ("fid", "kid"))
    assert fid == pytest.approx([47.081, math.nan, 46.541], nan_ok=True)
    assert all(map(math.isnan, kid))


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


def test_gpu_time_and_its_cost_stand_in_the_table_where_a_gpu_was_used(store: Store) -> None:
    study = store.study("on GPUs")
    store.trial(study, "baseline", 0, {"fid_digits": 1.0, "gpu_s": 5400.0, "wall_time_s": 10800.0})
    store.trial(study, "raw_pixels", 0, {"miou": 0.1, "wall_time_s": 60.0}, kind="control", position="1")
    found = load_trials(store.uri, "on GPUs")
    without = sheet_of(summarise(found, present_metrics(found)), found)
    assert [row.gpu_time for row in without.rows] == ["1 h 30 m", ""]
    store.client.set_experiment_tag(study, "gpu_hour_price", "2.5")
    found = load_trials(store.uri, "on GPUs")
    assert found.attrs["gpu_hour_price"] == 2.5
    priced = sheet_of(summarise(found, present_metrics(found)), found)
    assert priced.rows[0].gpu_time == "1 h 30 m, cost 3.75"
    assert ("GPU time", [row.gpu_time for row in priced.rows]) in flat_columns(priced)


def test_gpu_time_has_no_column_where_no_gpu_was_used(trials: pd.DataFrame) -> None:
    sheet = sheet_of(summarise(trials, present_metrics(trials)), trials)
    assert "GPU time" not in dict(flat_columns(sheet))
