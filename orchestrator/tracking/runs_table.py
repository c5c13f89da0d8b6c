"""The table of runs on MLflow's page: which columns it shows, and in which order."""

from __future__ import annotations

import json

from orchestrator.planning.plan import Study
from results.metrics import METRICS
from trainables.stages import BY_NAME

VIEW = "ablations"  # the saved view's name, a part of the page's address


def saved_view(study: Study) -> str:
    """The columns of the runs table; MLflow hides metrics unless a saved view names them."""
    measured = [metric for stage in study.baseline.stages for metric in BY_NAME[stage].metrics(study.baseline)]
    metrics = [*measured, "wall_time_s"]
    metrics = [study.objective, *metrics] if study.objective else metrics
    columns = ["params.`seed`", "tags.`variant`", "tags.`delta`", "tags.`kind`", *(f"metrics.`{m}`" for m in metrics)]
    higher = {metric.name for metric in METRICS if not metric.lower_is_better} | {study.objective}
    order = {"orderByKey": f"metrics.`{metrics[0]}`", "orderByAsc": metrics[0] not in higher}
    return json.dumps({"selectedColumns": columns, **order})
