"""What a session and its scheduler agree on. Imports no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.resources import Limits, Resources
from orchestrator.planning.plan import Trial
from trainables.inputs import Inputs

SCRATCH = ".tune-"  # how the folder of Tune's own files begins, in the study's


@dataclass(frozen=True)
class Events:
    """What a study does when one of its trials starts, speaks, or fails for good."""

    started: Callable[[Trial, int], None]  # with the number of the attempt, from 1
    recorded: Callable[[Trial, Mapping[str, Any]], None]
    failed: Callable[[Trial, str, bool], None]  # with whether the same command would fail the same way


@dataclass(frozen=True)
class SessionConfig:
    """What all trials of a session share.

    Args:
        inputs: where every node has the data and the checkpoint.
        store: the artefacts' root, a path or URI that every node reaches.
        resources: of each trial.
        limits: to what may go wrong.
        gpu_hour_price: money, for the table; 0 for none.
    """

    inputs: Inputs
    store: str
    resources: Resources
    limits: Limits
    gpu_hour_price: float = 0.0
