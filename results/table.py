"""MLflow -> one tidy table: a row per trial (`load_trials`), then a row per variant and metric (`summarise`).

Beside it stand the views of one question each: the probes' mIoU by block and timestep (`heat_map`), the IoU by class,
the Frechet distances by number of samples, and the pairs of variants whose order that number decides.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from results.statistics import Comparison, compare, holm, paired_differences, verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

BASELINE = "baseline"
CONTROL = "control"
PROBE = "probe"  # a cell of the heat map: one trial with one block and one timestep
FINISHED = "FINISHED"

TRIAL_COLUMNS = (
    *("variant", "kind", "seed", "position", "delta", "status", "error", "trial_key", "run_id"),
    *("status_note", "git_commit", "git_dirty", "machine"),
)
SUMMARY_COLUMNS = (
    *("variant", "kind", "delta", "metric", "n", "failed", "mean", "sd"),
    *(
        "pairs",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "p_holm",
        "verdict",
        "parameters",
        "wall_time_s",
        "gpu_s",
        "published",
    ),
)
_REQUIRED_TAGS = ("variant", "seed", "kind", "position")
_PAGE = 1000  # runs a request
_NAMED_STUDIES = 20  # in the text of an error


@dataclass(frozen=True)
class Metric:
    """A figure of merit: its name in MLflow, its good direction and the decimals that its spread deserves.

    Args:
        features: of a Frechet distance, the length of its features; from as many samples or fewer their covariance
            is singular. 0 for what is no Frechet distance.
    """

    name: str
    lower_is_better: bool
    digits: int
    features: int = 0

    @property
    def arrow(self) -> str:
        """To the good side."""
        return "↓" if self.lower_is_better else "↑"


METRICS = (
    Metric("fid_digits", lower_is_better=True, digits=1, features=64),
    Metric("fid", lower_is_better=True, digits=2, features=2048),
    Metric("kid", lower_is_better=True, digits=4),
    Metric("miou", lower_is_better=False, digits=3),
    Metric("miou_reference", lower_is_better=False, digits=3),
    Metric("pixel_accuracy", lower_is_better=False, digits=3),
    Metric("validation_miou", lower_is_better=False, digits=3),
    Metric("fid_digits_extrapolated", lower_is_better=True, digits=1),
    Metric("fid_extrapolated", lower_is_better=True, digits=2),
)
MAIN_METRICS = METRICS[:4]  # what a table that is read shows; table.csv has them all
REQUESTED_METRICS = METRICS[4:5]  # measured on request only, and then shown too
FRECHET_METRICS = tuple(metric for metric in METRICS if metric.features)

_UNTESTED = (CONTROL, PROBE)  # kinds that are compared with nothing
_PUBLISHED = "published_"
_IOU = "iou/"


def load_trials(tracking_uri: str, study: str) -> pd.DataFrame:
    """The trials of `study`, one row a trial, by position and seed.

    Columns: `TRIAL_COLUMNS`, then every metric's latest value under its own name (NaN where a trial has none), then
    `published_<metric>`, what the paper prints for the trial's variant (NaN where it prints nothing), then every
    setting as text under `params.<dotted name>`. Runs without a variant, seed, kind and position were made by
    hand and are left out. Of several runs of one variant and seed (a study whose settings were changed) those that
    the driver tagged `superseded` are left out, then the one that started last counts: two runs of a seed are not
    two seeds. `attrs["gpu_hour_price"]` is what an hour of a GPU costs, 0 where the study does not say;
    `attrs["objective"]` is the metric that a search maximises, "" where the study is none.

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
    published = sorted(name for name in trials.columns if name.startswith(_PUBLISHED))
    metrics = sorted(set(trials.columns) - {*TRIAL_COLUMNS, *published, *settings})
    trials = trials.reindex(columns=[*TRIAL_COLUMNS, *metrics, *published, *settings])
    trials = trials.sort_values(["position", "seed"], kind="stable", ignore_index=True)
    trials.attrs["objective"] = experiment.tags.get("objective", "")
    trials.attrs["gpu_hour_price"] = float(experiment.tags.get("gpu_hour_price", 0.0))
    return trials


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
    row |= {name: float(text) for name, text in tags.items() if name.startswith(_PUBLISHED)}
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
    """The variants (variant, kind, delta) in a table's order: baseline, the others by position, the controls.

    A probe is a cell of the heat map and no row, but for one of which a trial did not finish: it stands after the
    variants, so that its failure is seen.
    """
    first = trials[(trials["kind"] != PROBE) | (trials["status"] != FINISHED)].drop_duplicates("variant")
    order = pd.DataFrame(
        {
            "kind": first["kind"].map({PROBE: 1, CONTROL: 2}).fillna(0),
            "other": first["variant"] != BASELINE,
            "position": first["position"],
        }
    )
    ordered = first.loc[order.sort_values(["kind", "other", "position"], kind="stable").index]
    return ordered[["variant", "kind", "delta"]].reset_index(drop=True)


def summarise(trials: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """A row per variant and metric, in the order of `variants`: `SUMMARY_COLUMNS`.

    `n` counts the finished trials with a finite value, `mean` and `sd` (ddof = 1) are over them; `pairs` counts the
    seeds that the baseline has too, and `difference`, its 95 % interval and `p` are over those. `p_holm` is corrected
    across the variants of one metric. The baseline, controls and probes are not tested and have no verdict. `failed`
    counts FAILED trials; `parameters`, `wall_time_s` and `gpu_s` (seconds) are means over finished trials;
    `published` is what the paper prints, NaN where it prints nothing.

    Args:
        trials: as `load_trials` gives them.
        metrics: each gives one row a variant, also where no trial has it (n = 0).
    """
    rows = []
    for about in variants(trials).to_dict("records"):
        own = trials[trials["variant"] == about["variant"]]
        for metric in metrics:
            published = {"published": _published(own, metric)}
            rows.append(about | {"metric": metric.name} | _statistics(own, trials, metric) | _cost(own) | published)
    summary = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
    for name in summary["metric"].unique():
        of_metric = summary["metric"] == name
        summary.loc[of_metric, "p_holm"] = holm(summary.loc[of_metric, "p"].to_numpy(dtype=np.float64))
    return summary


def _statistics(own: pd.DataFrame, trials: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    values = _by_seed(own, metric)
    spread = {"n": len(values), "mean": values.mean(), "sd": values.std(ddof=1)}
    if own["kind"].isin(_UNTESTED).any() or (own["variant"] == BASELINE).any():
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


_COSTS = ("parameters", "wall_time_s", "gpu_s")


def _cost(own: pd.DataFrame) -> dict[str, Any]:
    finished = own[own["status"] == FINISHED]
    cost = {name: finished[name].mean() if name in finished else math.nan for name in _COSTS}
    return cost | {"failed": int((own["status"] == "FAILED").sum())}


def _published(own: pd.DataFrame, metric: Metric) -> float:
    name = f"{_PUBLISHED}{metric.name}"
    # The trials that have it all have the same; max takes it past those that do not.
    return float(own[name].max()) if name in own else math.nan


def heat_map(trials: pd.DataFrame) -> pd.DataFrame:
    """The mIoU of each block at each timestep alone: a row a block, a column a timestep, both rising.

    A cell is the mean over the seeds of its finished probes, NaN where none has finished; empty without probes.

    Args:
        trials: as `load_trials` gives them.
    """
    settings = {"block": "params.segmentation.blocks", "timestep": "params.segmentation.timesteps"}
    probes = trials[(trials["kind"] == PROBE) & (trials["status"] == FINISHED)]
    probes = probes.reindex(columns=[*settings.values(), "miou"])
    cells = {name: [_only(text) for text in probes[setting]] for name, setting in settings.items()}
    measured = pd.DataFrame({**cells, "miou": probes["miou"].to_numpy(dtype=np.float64)})
    means: pd.DataFrame = measured.pivot_table(index="block", columns="timestep", values="miou", aggfunc="mean")
    return means


def _only(text: str) -> int:
    """The one number in a setting such as "[6]"."""
    (number,) = json.loads(text)
    return int(number)


def iou_by_class(trials: pd.DataFrame) -> pd.DataFrame:
    """The IoU of each class, mean over the seeds of the finished trials: a row a variant, a column a class.

    The rows are in the order of `variants`; probes and those without any IoU are left out. NaN: the class occurs in
    neither truth nor prediction.

    Args:
        trials: as `load_trials` gives them.
    """
    return _means(trials, [name for name in trials.columns if name.startswith(_IOU)]).rename(
        columns=lambda name: name.removeprefix(_IOU)
    )


def fid_by_samples(trials: pd.DataFrame) -> pd.DataFrame:
    """The Frechet distances by number of samples, mean over the seeds of the finished trials: a row a variant.

    Columns: `samples`, then of each distance that there is `<metric>_half` (from half the samples), `<metric>` and
    `<metric>_extrapolated` (to infinitely many). The rows are in the order of `variants`; those without any are
    left out.

    Args:
        trials: as `load_trials` gives them.
    """
    present = [metric.name for metric in FRECHET_METRICS if f"{metric.name}_extrapolated" in trials]
    names = [f"{name}{suffix}" for name in present for suffix in ("_half", "", "_extrapolated")]
    return _means(trials, ["samples", *names] if names else [])


def _means(trials: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The means of some metrics over the finished trials of each variant, without what has no value at all."""
    listed = variants(trials).query("kind != @PROBE")["variant"]
    finished = trials.loc[trials["status"] == FINISHED, ["variant", *names]]
    means = finished.groupby("variant").mean().reindex(listed)
    return means.dropna(how="all").dropna(axis="columns", how="all")


def ranking_flips(summary: pd.DataFrame, metric: str) -> list[tuple[str, str]]:
    """The pairs of variants that change places where a Frechet distance is extrapolated to infinitely many samples.

    Their order by mean of `metric` is opposite to that by mean of `<metric>_extrapolated`: which of the two is
    better depends on the number of samples. Controls and probes are not compared.

    Args:
        summary: as `summarise` gives it.
        metric: a metric's name.

    Source: Chong & Forsyth 2020 (arXiv:1911.07023): FID is biased at finite N, by an amount that depends on the model.
    """
    compared = summary[~summary["kind"].isin(_UNTESTED)]
    at_n, extrapolated = (
        compared[compared["metric"] == name].set_index("variant")["mean"] for name in (metric, f"{metric}_extrapolated")
    )
    both = [variant for variant in at_n.index if variant in extrapolated.index]
    return [(a, b) for a, b in combinations(both, 2) if (at_n[a] - at_n[b]) * (extrapolated[a] - extrapolated[b]) < 0]
