"""A study's trials from MLflow: one row a trial."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.alpha_spending import TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

BASELINE = "baseline"  # the variant that all others are compared with

# Kinds of trials beside the ordinary variants.
CONTROL = "control"
PROBE = "probe"  # a cell of the heat map: one trial with one block and one timestep
UNTESTED = (CONTROL, PROBE)  # they are compared with nothing

FINISHED = "FINISHED"
ENDED = (FINISHED, "FAILED")  # nothing more is to come of such a trial; of a killed one there is

TRIAL_COLUMNS = (
    *("variant", "kind", "seed", "position", "delta", "status", "error", "trial_key", "run_id"),
    *("status_note", "git_commit", "git_dirty", "code", "accepted_code", "machine", "made_with", "remarks"),
)
PUBLISHED = "published_"  # before a metric's name: what the paper prints
_REQUIRED_TAGS = ("variant", "seed", "kind", "position")
_PAGE = 1000  # runs a request
_NAMED_STUDIES = 20  # in the text of an error


def load_trials(tracking_uri: str, study: str) -> pd.DataFrame:
    """The trials of `study`, one row a trial, by position and seed.

    Columns: `TRIAL_COLUMNS`, then every metric's latest value under its own name (NaN where a trial has none), then
    `published_<metric>`, what the paper prints for the trial's variant (NaN where it prints nothing), then every
    setting as text under `params.<dotted name>`. Runs without a variant, seed, kind and position sum up a study or were
    made by hand, and are left out. Of several runs of one variant and seed (a study whose settings were changed) those
    that the driver tagged `superseded` are left out, then the one that started last counts: two runs of a seed are not
    two seeds. `attrs["gpu_hour_price"]` is what an hour of a GPU costs, 0 where the study does not say;
    `attrs["higher_is_better"]` has the metrics of the person's own by name, and each one's good direction;
    `attrs["objective"]` is the metric that a search maximises, "" where the study is none; `attrs["looks"]` tells of
    the looks at the study's table, as `alpha_spending.from_text` reads it; `attrs["design"]` has the name and the
    components of the study's design, {} where no variants run together.

    Args:
        tracking_uri: MLflow's store or server, e.g. `sqlite:////absolute/path.db`.
        study: the MLflow experiment's name.

    Raises:
        LookupError: there is no such study; its text is one line that names those that exist.
    """
    _refuse_missing_database(tracking_uri, study)
    # Here and not above: MLflow takes a second to import, and those who only render tables need not pay it.
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiment = _experiment(client, study)
    rows = {
        (row["variant"], row["seed"]): row
        for run in _runs(client, experiment.experiment_id)
        if all(tag in run.data.tags for tag in _REQUIRED_TAGS) and run.data.tags.get("superseded") != "true"
        for row in [_trial(run)]
    }
    trials = pd.DataFrame(list(rows.values()))
    settings = sorted(name for name in trials.columns if name.startswith("params."))
    published = sorted(name for name in trials.columns if name.startswith(PUBLISHED))
    metrics = sorted(set(trials.columns) - {*TRIAL_COLUMNS, *published, *settings})
    trials = trials.reindex(columns=[*TRIAL_COLUMNS, *metrics, *published, *settings])
    trials = trials.sort_values(["position", "seed"], kind="stable", ignore_index=True)
    trials.attrs["higher_is_better"] = json.loads(experiment.tags.get("higher_is_better", "{}"))
    trials.attrs[TAG] = experiment.tags.get(TAG, "")
    trials.attrs["design"] = json.loads(experiment.tags.get("design", "{}"))
    trials.attrs["objective"] = experiment.tags.get("objective", "")
    trials.attrs["gpu_hour_price"] = float(experiment.tags.get("gpu_hour_price", 0.0))
    return trials


def without_settings(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials without their settings, which are most of the columns: to choose rows of what is left takes less."""
    return trials.drop(columns=[name for name in trials.columns if name.startswith("params.")])


def _refuse_missing_database(tracking_uri: str, study: str) -> None:
    """MLflow would create an empty database where there is none, and a mistyped path would look like a new store."""
    path = tracking_uri.removeprefix("sqlite:///").split("?")[0]
    if path != tracking_uri and path and not Path(path).is_file():
        raise LookupError(f"no study {study!r}: there is no MLflow database {path}")


def _experiment(client: MlflowClient, study: str) -> Experiment:
    experiment = client.get_experiment_by_name(study)
    if experiment is not None and experiment.lifecycle_stage == "active":
        return experiment
    # MLflow makes experiment 0, "Default", by itself: it is nobody's study.
    names = [found.name for found in client.search_experiments() if found.experiment_id != "0"]
    known = ", ".join(names[:_NAMED_STUDIES]) or "none yet"
    more = f" and {len(names) - _NAMED_STUDIES} more" if len(names) > _NAMED_STUDIES else ""
    raise LookupError(f"no study {study!r}; studies that exist: {known}{more}")


def _runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _trial(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    row: dict[str, Any] = {name: _unclipped(value) for name, value in run.data.metrics.items()}
    row |= {f"params.{name}": value for name, value in run.data.params.items()}
    row |= {name: float(text) for name, text in tags.items() if name.startswith(PUBLISHED)}
    row |= {name: tags.get(name, "") for name in TRIAL_COLUMNS}
    row |= {"seed": int(tags["seed"]), "position": int(tags["position"])}
    return row | {"status": run.info.status, "run_id": run.info.run_id}


def _unclipped(value: float) -> float:
    """MLflow's SQL store writes an infinity as the largest float; as a value that would be absurd in a mean."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value
