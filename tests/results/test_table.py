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
from results.table import METRICS, TRIAL_COLUMNS, Metric, load_trials, present_metrics, summarise, variants

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
        **tags: str,
    ) -> str:
        self.started += 1000
        known = {"variant": variant, "seed": str(seed), "kind": "variant", "position": "0", "delta": "-"}
        run = self.client.create_run(study, self.started, {**known, **tags}, f"{variant}-seed{seed}")
        run_id = str(run.info.run_id)
        self.client.log_param(run_id, "unet.block", "resnet")
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
    trials = pd.DataFrame({"variant": names, "kind": kinds, "delta": "-", "position": [0, 3, 1, 2]})
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
