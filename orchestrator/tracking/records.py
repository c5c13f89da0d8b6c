"""What a trial's run holds in MLflow: its place in the table, its settings as MLflow keeps them, its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.planning.plan import Trial

NOTE_LIMIT = 20_000  # characters; MLflow refuses more
BEGIN = "<!-- written anew by each run, up to the end mark; what stands around it is kept -->\n"
END = "\n<!-- end -->"
EARLIER = "| variant |"  # how the table began before it had marks
CUT = "\n\nCut here, as MLflow takes no more: the whole table is in the study's report."


def place(trial: Trial) -> dict[str, str]:
    """Where its variant stands in the table, and what it says there; the same for all seeds."""
    about = {"kind": trial.kind, "position": str(trial.position), "delta": trial.delta}
    return about | {"remarks": "; ".join(trial.remarks)}


def note(markdown: str, found: str = "") -> str:
    """The text above an experiment's runs, as MLflow takes it: what is too long ends with a whole line, and says so.

    Args:
        markdown: ours.
        found: what stands there; what of it a person has written is kept.
    """
    before, ours, after = found.partition(BEGIN)
    if ours:
        after = after.partition(END)[2]
    elif found.startswith(EARLIER):
        before = ""
    elif found:
        before += "\n\n"
    room = NOTE_LIMIT - len(before) - len(after) - len(BEGIN) - len(END)
    if len(markdown) > room:
        markdown = markdown[: max(0, room - len(CUT))].rpartition("\n")[0] + CUT
    return f"{before}{BEGIN}{markdown}{END}{after}"


def param(value: object) -> str:
    """A setting as the text that MLflow keeps of it; several values as a list."""
    return json.dumps(value) if isinstance(value, list | tuple) else str(value)


def final_metrics(trial: Trial, result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a finished trial as MLflow gets them: its metrics, its size, its time by stage and in all."""
    times = result["wall_time_s"]
    size = {name: float(count) for name, count in trial.size.items() if count is not None}
    size |= {"gpu_s": result["gpu_s"]} if result["gpu_s"] else {}
    by_stage = {f"{stage}_wall_time_s": seconds for stage, seconds in times.items()}
    return dict(result["metrics"]) | size | by_stage | {"wall_time_s": sum(times.values())}
