"""MLflow -> one tidy table: a row per trial (`load_trials`), then a row per variant and metric (`summarise`)."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from results.statistics import Comparison, compare, holm, paired_differences, verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

BASELINE = "baseline"
CONTROL = "control"
FINISHED = "FINISHED"

TRIAL_COLUMNS = (
    *("variant", "kind", "seed", "position", "delta", "status", "error", "trial_key", "run_id"),
    *("status_note", "git_commit", "git_dirty", "machine"),
)
SUMMARY_COLUMNS = (
    *("variant", "kind", "delta", "metric", "n", "failed", "mean", "sd"),
    *("pairs", "difference", "ci_low", "ci_high", "p", "p_holm", "verdict", "parameters", "wall_time_s"),
)
_REQUIRED_TAGS = ("variant", "seed", "kind", "position")
_PAGE = 1000  # runs a request
_NAMED_STUDIES = 20  # in the text of an error


@dataclass(frozen=True)
class Metric:
    """A figure of merit: its name in MLflow, its good direction and the decimals that its spread deserves."""

    name: str
    lower_is_better: bool
    digits: int


METRICS = (
    Metric("fid_digits", lower_is_better=True, digits=1),
    Metric("fid", lower_is_better=True, digits=2),
    Metric("kid", lower_is_better=True, digits=4),
    Metric("miou", lower_is_better=False, digits=3),
    Metric("pixel_accuracy", lower_is_better=False, digits=3),
)
MAIN_METRICS = METRICS[:4]  # what a table that is read shows; table.csv has them all


def load_trials(tracking_uri: str, study: str) -> pd.DataFrame:
    """The trials of `study`, one row a trial, by position and seed.

    Columns: `TRIAL_COLUMNS`, then every metric's latest value under its own name (NaN where a trial has none), then
    every setting as text under `params.<dotted name>`. Runs without a variant, seed, kind and position were made by
    hand and are left out. Of several runs of one variant and seed (a study whose settings were changed) those that
    the driver tagged `superseded` are left out, then the one that started last counts: two runs of a seed are not
    two seeds.

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
    rows = {
        (row["variant"], row["seed"]): row
        for run in _runs(client, _experiment_id(client, study))
        if all(tag in run.data.tags for tag in _REQUIRED_TAGS) and run.data.tags.get("superseded") != "true"
        for row in [_trial(run)]
    }
    trials = pd.DataFrame(list(rows.values()))
    settings = sorted(name for name in trials.columns if name.startswith("params."))
    metrics = sorted(set(trials.columns) - set(TRIAL_COLUMNS) - set(settings))
    trials = trials.reindex(columns=[*TRIAL_COLUMNS, *metrics, *settings])
    return trials.sort_values(["position", "seed"], kind="stable", ignore_index=True)


def _refuse_missing_database(tracking_uri: str, study: str) -> None:
    """MLflow would create an empty database where there is none, and a mistyped path would look like a new store."""
    path = tracking_uri.removeprefix("sqlite:///").split("?")[0]
    if path != tracking_uri and path and not Path(path).is_file():
        raise LookupError(f"no study {study!r}: there is no MLflow database {path}")


def _experiment_id(client: MlflowClient, study: str) -> str:
    experiment = client.get_experiment_by_name(study)
    if experiment is not None and experiment.lifecycle_stage == "active":
        return str(experiment.experiment_id)
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
    row |= {name: tags.get(name, "") for name in TRIAL_COLUMNS}
    row |= {"seed": int(tags["seed"]), "position": int(tags["position"])}
    return row | {"status": run.info.status, "run_id": run.info.run_id}


def _unclipped(value: float) -> float:
    """MLflow's SQL store writes an infinity as the largest float; as a value that would be absurd in a mean."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def present_metrics(trials: pd.DataFrame, among: Sequence[Metric] = METRICS) -> tuple[Metric, ...]:
    """Those of `among` that at least one finished trial has a finite value of, in the order of `among`."""
    return tuple(metric for metric in among if len(_by_seed(trials, metric)))


def variants(trials: pd.DataFrame) -> pd.DataFrame:
    """The variants (variant, kind, delta) in a table's order: baseline, the others by position, the controls."""
    first = trials.drop_duplicates("variant")
    order = pd.DataFrame(
        {"control": first["kind"] == CONTROL, "other": first["variant"] != BASELINE, "position": first["position"]}
    )
    ordered = first.loc[order.sort_values(["control", "other", "position"], kind="stable").index]
    return ordered[["variant", "kind", "delta"]].reset_index(drop=True)


def summarise(trials: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """A row per variant and metric, in the order of `variants`: `SUMMARY_COLUMNS`.

    `n` counts the finished trials with a finite value, `mean` and `sd` (ddof = 1) are over them; `pairs` counts the
    seeds that the baseline has too, and `difference`, its 95 % interval and `p` are over those. `p_holm` is corrected
    across the variants of one metric. The baseline and the controls are not tested and have no verdict. `failed`
    counts FAILED trials; `parameters` and `wall_time_s` (seconds) are means over finished trials.

    Args:
        trials: as `load_trials` gives them.
        metrics: each gives one row a variant, also where no trial has it (n = 0).
    """
    rows = []
    for about in variants(trials).to_dict("records"):
        own = trials[trials["variant"] == about["variant"]]
        for metric in metrics:
            rows.append(about | {"metric": metric.name} | _statistics(own, trials, metric) | _cost(own))
    summary = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
    for name in summary["metric"].unique():
        of_metric = summary["metric"] == name
        summary.loc[of_metric, "p_holm"] = holm(summary.loc[of_metric, "p"].to_numpy(dtype=np.float64))
    return summary


def _statistics(own: pd.DataFrame, trials: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    values = _by_seed(own, metric)
    spread = {"n": len(values), "mean": values.mean(), "sd": values.std(ddof=1)}
    if (own["kind"] == CONTROL).any() or (own["variant"] == BASELINE).any():
        return spread | dataclasses.asdict(Comparison(pairs=0)) | {"verdict": ""}
    baseline = _by_seed(trials[trials["variant"] == BASELINE], metric)
    comparison = compare(paired_differences(values, baseline))
    return spread | dataclasses.asdict(comparison) | {"verdict": verdict(comparison, metric.lower_is_better)}


def _by_seed(trials: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """The metric's finite values in finished trials, indexed by seed."""
    if metric.name not in trials:
        return pd.Series(dtype=np.float64)
    finished = trials[trials["status"] == FINISHED].set_index("seed")[metric.name].astype(np.float64)
    return finished[np.isfinite(finished)]


def _cost(own: pd.DataFrame) -> dict[str, Any]:
    finished = own[own["status"] == FINISHED]
    cost = {name: finished[name].mean() if name in finished else math.nan for name in ("parameters", "wall_time_s")}
    return cost | {"failed": int((own["status"] == "FAILED").sum())}
