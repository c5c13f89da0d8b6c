"""The trials' table from a real MLflow store with the tags that the driver writes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from results.metrics import METRICS
from results.summary import present_metrics, summarise
from results.trials import TRIAL_COLUMNS, _experiment, load_trials, without_settings
from tests.results.mlflow_store import STUDY, Store

FID = METRICS[0]


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
    monkeypatch.setattr("results.trials._PAGE", 3)
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
    for options in ("", "?timeout=5"):
        with pytest.raises(LookupError, match=r"there is no MLflow database .*typo\.db$"):
            load_trials(f"sqlite:///{tmp_path / 'typo.db'}{options}", STUDY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("studies", "more"), [(0, "none yet"), (20, "s20"), (23, "s20 and 3 more")])
def test_of_many_studies_twenty_are_named_and_the_rest_counted(studies: int, more: str) -> None:
    found = [SimpleNamespace(name=f"s{i}", experiment_id=str(i)) for i in range(studies + 1)]  # 0 is MLflow's own
    client = SimpleNamespace(get_experiment_by_name=lambda name: None, search_experiments=lambda: found)
    with pytest.raises(LookupError, match=f"^no study 'digit'; studies that exist: (s1, .*)?{more}$"):
        _experiment(client, "digit")


def test_the_studys_design_is_read_and_a_study_without_one_has_none(store: Store, trials: pd.DataFrame) -> None:
    study, design = store.study("crossed"), {"name": "factorial", "components": ["adagn", "cosine"], "pairs": []}
    store.trial(study, "baseline", 0, {"fid": 1.0})
    store.client.set_experiment_tag(study, "design", json.dumps(design))
    assert load_trials(store.uri, "crossed").attrs["design"] == design
    assert trials.attrs["design"] == {}


def test_trials_without_their_settings_keep_all_the_rest(trials: pd.DataFrame) -> None:
    figures = without_settings(trials)
    assert set(trials.columns) - set(figures.columns) == {n for n in trials.columns if n.startswith("params.")} != set()
    assert figures.attrs == trials.attrs
