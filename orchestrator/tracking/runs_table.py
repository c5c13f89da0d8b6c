"""The table of runs on MLflow's page, and its charts: which there are, and in which order."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.planning.plan import Study
from orchestrator.tracking.summary_runs import ROW
from trainables.stages import BY_NAME

VIEW = "ablations"  # the saved view's name, a part of the page's address
SECTION = "variants"  # of the charts: the first one
SHOWN = 10  # runs in a chart, MLflow's own number


def saved_view(study: Study) -> str:
    """The columns of the runs table, its order and its charts, as MLflow's page reads them.

    MLflow hides metrics unless a saved view names them, and puts charts in the order of their metrics' names. The
    summary runs stand first, in the order of the study's table: only they have its tag, and MLflow puts those without
    last. A search's points stand by what it maximises.
    """
    measured = [metric for stage in study.baseline.stages for metric in BY_NAME[stage].metrics(study.baseline)]
    about = ["params.`seed`", "tags.`kind`", "tags.`variant`"]
    if study.objective:
        figures = [f"metrics.`{metric}`" for metric in (study.objective, *measured)]
        more: dict[str, Any] = {"orderByKey": figures[0], "orderByAsc": False}
    else:
        figures = [column for metric in measured for column in _of_summary(metric)]
        more = {"orderByKey": f"tags.`{ROW}`", "orderByAsc": True, **_charts(measured)}
    columns = ["tags.`delta`", *figures, "metrics.`wall_time_s`", *about]
    return json.dumps({"selectedColumns": columns, "columnOrder": columns, **more})


def _of_summary(metric: str) -> list[str]:
    """The columns of a metric; what is not its figure itself is of summary runs alone."""
    sd, difference = (f"metrics.`{metric}/{figure}`" for figure in ("sd", "difference"))
    return [f"metrics.`{metric}`", sd, difference, f"tags.`{metric}/verdict`"]


def _charts(measured: list[str]) -> dict[str, Any]:
    """The first charts of the page: each metric of the first runs, its difference from the baseline, and their cost."""
    section = {"uuid": SECTION, "name": SECTION, "display": True, "isReordered": True, "deleted": False}
    shown = [name for metric in measured for name in (metric, f"{metric}/difference")]
    charts = [
        {"uuid": name, "type": "BAR", "metricKey": name, "displayName": name, "metricSectionId": SECTION}
        | {"runsCountToCompare": SHOWN, "deleted": False, "isGenerated": False}
        for name in (*shown, "wall_time_s")
    ]
    sections = [{**section, "isGenerated": False}]
    return {"compareRunCharts": charts, "compareRunSections": sections, "isAccordionReordered": True}
