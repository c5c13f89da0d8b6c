"""A study as a JSON object: its figures are the store's, and it holds nothing that JSON cannot say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results.alpha_spending import TAG, Looks
from results.as_json import ROW, as_json, study_object
from results.trials import load_trials
from tests.results.mlflow_store import STUDY, Store
from tests.results.studies import digits_study, probed_study, summary_of, trial, with_trials


def told(trials: pd.DataFrame) -> Any:
    """The object that a strict reader gets."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(as_json("mine", summary_of(trials), trials), parse_constant=refuse)


def row(content: Any, variant: str, metric: str) -> dict[str, Any]:
    (found,) = [row for row in content["rows"] if (row["variant"], row["metric"]) == (variant, metric)]
    return dict(found)


def test_the_rows_are_the_summary_to_the_last_digit() -> None:
    trials = digits_study()
    content, summary = told(trials), summary_of(trials)
    assert (content["study"], content["planned_seeds"], len(content["rows"])) == ("mine", [0, 1, 2], len(summary))
    for found, expected in zip(content["rows"], summary.to_dict("records"), strict=True):
        assert tuple(found) == (*ROW, "against")
        figures = {name: found[name] for name in ROW}
        figures |= {f"{name}_held-out": value for name, value in found["against"]["held-out"].items()}
        assert len(figures) == len(ROW) + 3
        for name, value in figures.items():
            assert value == expected[name] or (value is None and (expected[name] == "" or math.isnan(expected[name])))
    convnext = row(content, "convnext", "fid_digits")
    assert (convnext["verdict"], convnext["level"], convnext["kind"]) == ("helps", "confirmed", "variant")
    assert isinstance(convnext["n"], int)
    assert convnext["against"]["held-out"]["difference"] == pytest.approx(83.0)


def test_what_was_not_compared_is_null_and_not_an_empty_word() -> None:
    baseline = row(told(digits_study()), "baseline", "miou")
    assert {baseline[name] for name in ("difference", "ci_low", "ci_high", "p", "verdict", "level")} == {None}
    assert baseline["n"] == 3


def test_the_means_are_those_of_the_trials_that_it_lists(store: Store) -> None:
    content = told(load_trials(store.uri, STUDY))
    finished = [t["fid_digits"] for t in content["trials"] if t["variant"] == "convnext" and t["status"] == "FINISHED"]
    convnext = row(content, "convnext", "fid_digits")
    assert (convnext["mean"], convnext["n"], convnext["failed"]) == (pytest.approx(np.mean(finished)), 2, 1)
    (failed,) = [t for t in content["trials"] if t["status"] == "FAILED"]
    assert (failed["error"], failed["seed"]) == ("MemoryError: no", 2)
    assert row(content, "adagn", "miou")["mean"] is None
    assert content["planned_seeds"] is None
    assert content["looks"] == []


def test_further_looks_are_told_and_are_not_the_plan() -> None:
    trials = digits_study(seeds=5)
    trials.attrs[TAG] = Looks().after(range(3), []).after(range(5), range(3)).as_text()
    content = told(trials)
    assert content["planned_seeds"] == [0, 1, 2]
    assert [(look["seeds"], look["planned"]) for look in content["looks"]] == [
        ([0, 1, 2], True),
        ([0, 1, 2, 3, 4], False),
    ]
    trials.attrs[TAG] = Looks().after(range(5), range(3)).as_text()
    assert told(trials)["planned_seeds"] is None


def test_infinite_and_missing_figures_are_null() -> None:
    broken = trial("broken", 0, 5, fid_digits=math.inf, wall_time_s=math.nan)
    content = told(with_trials(digits_study(), broken))
    assert row(content, "broken", "fid_digits")["mean"] is None
    (found,) = [t for t in content["trials"] if t["variant"] == "broken"]
    assert found["fid_digits"] is None


def test_a_study_whose_trials_all_failed_says_what_they_said() -> None:
    trials = pd.DataFrame([trial("baseline", 0, 0, status="FAILED", error="OSError: disk full")])
    content = told(trials)
    assert (content["rows"], content["metrics"]) == ([], {})
    assert content["trials"][0]["error"] == "OSError: disk full"


def test_each_metric_has_its_direction() -> None:
    trials = probed_study()
    metrics = study_object("mine", summary_of(trials), trials)["metrics"]
    assert metrics["fid_digits"] == {"lower_is_better": True, "log_scale": True}
    assert metrics["miou"] == {"lower_is_better": False, "log_scale": False}
