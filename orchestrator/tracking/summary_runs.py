"""The summary runs of a study in MLflow: one of the whole with its report, and one a variant, beside the trials' runs.

A variant's has its mean under the metric's own name, so that it stands in the column of the trials' figures, and what
else the table says of it under `METRIC/`: n, SD, difference, interval, p and floor; verdict and level as tags. None has
a seed or a trial's key, so that nobody counts them as trials. A study that goes on writes into the same runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.planning.plan import Study

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

ROW = "summary_row"  # the tag that only they have: the row in the table, the study's before all
KIND = "summary"
FIGURES = ("n", "sd", "difference", "ci_low", "ci_high", "p", "floor")
WORDS = ("verdict", "level")
COSTS = ("parameters", "forward_flops", "wall_time_s", "gpu_s")
MOST = 10_000  # rows


@dataclass
class _Wanted:
    """What a summary run holds, beside the study's files."""

    name: str
    tags: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)


def write(
    client: MlflowClient, experiment_id: str, study: Study, summary: pd.DataFrame, files: Sequence[Path] = ()
) -> None:
    """Makes the study's summary runs, or brings them up to date; those of variants that are gone are deleted.

    Args:
        summary: as `results.summary.summarise` gives it; each of its variants has a run, but for a search's points.
        files: of the whole study, its report and tables.
    """
    found = {run.data.tags.get("variant", ""): run for run in _found(client, experiment_id)}
    wanted = {"": _Wanted(study.name, {ROW: _place(0), "kind": KIND})}
    wanted |= {} if study.objective else _variants(summary)
    for variant, content in wanted.items():
        run_id = _update(client, experiment_id, found.get(variant), content)
        for file in files if not variant else ():
            client.log_artifact(run_id, str(file))
    for variant, run in found.items():
        if variant not in wanted and _is_active(run):
            client.delete_run(run.info.run_id)


def _variants(summary: pd.DataFrame) -> dict[str, _Wanted]:
    wanted: dict[str, _Wanted] = {}
    for row in summary.to_dict("records"):
        name = row["variant"]
        tags = {ROW: _place(len(wanted) + 1), "kind": KIND, "variant": name, "delta": row["delta"]}
        one = wanted.setdefault(name, _Wanted(name, tags))
        one.tags |= {f"{row['metric']}/{word}": row[word] for word in WORDS}
        figures = {row["metric"]: row["mean"], **{f"{row['metric']}/{figure}": row[figure] for figure in FIGURES}}
        figures |= {cost: row[cost] for cost in COSTS}
        one.metrics |= {figure: float(value) for figure, value in figures.items() if math.isfinite(value)}
    return wanted


def _place(row: int) -> str:
    """As MLflow sorts it, by its letters."""
    return f"{row:04}"


def _found(client: MlflowClient, experiment_id: str) -> list[Run]:
    """The summary runs, deleted ones too: a variant that comes back goes on in its run."""
    from mlflow.entities import ViewType

    return list(client.search_runs([experiment_id], f"tags.{ROW} LIKE '%'", ViewType.ALL, max_results=MOST))


def _is_active(run: Run) -> bool:
    return str(run.info.lifecycle_stage) == "active"


def _update(client: MlflowClient, experiment_id: str, run: Run | None, content: _Wanted) -> str:
    """The id of the run that holds the content and nothing else, made where there is none."""
    from mlflow.entities import Metric, RunTag

    if run is None:
        run = client.create_run(experiment_id, run_name=content.name, tags=content.tags)
    elif not _is_active(run):
        client.restore_run(run.info.run_id)
    now, run_id = int(time.time() * 1000), str(run.info.run_id)
    metrics = [Metric(name, value, now, 0) for name, value in _changed(run.data.metrics, content.metrics).items()]
    client.log_batch(run_id, metrics, tags=[RunTag(*tag) for tag in content.tags.items()])
    if run.info.status != "FINISHED":
        client.set_terminated(run_id)
    return run_id


def _changed(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """The metrics that differ; NaN for one that there was and is no more, as MLflow takes none away."""
    gone = {name: math.nan for name, value in before.items() if name not in now and not math.isnan(value)}
    return {name: value for name, value in now.items() if before.get(name) != value} | gone
