"""What a trial gets of a machine: its cores and GPUs, found without torch, and how much may go wrong on the way."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many run at once (0: as many as fit)."""

    cpus: float
    gpus: float
    max_concurrent: int = 0

    @property
    def device(self) -> str:
        """The torch device of a trial."""
        # A trial without a GPU of its own would still see every GPU of the host.
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True)
class Limits:
    """How much a trial may go wrong.

    Args:
        max_retries: of a trial whose worker was lost; only a preemption that Ray was told of is not counted.
        stall_limit_s: seconds without a record after which a trial is ended and counted as lost.
        checkpoint_interval_s: seconds between checkpoints, so at most so much work is done again.
    """

    max_retries: int = 3
    stall_limit_s: float = 3600.0
    checkpoint_interval_s: float = 60.0


def cpus() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The names of the GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    names = [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []
    return names if visible is None else names[: len(visible.split(","))]


def trials_a_gpu(gpus: float) -> int:
    """How many trials run on one GPU, each of which is given so many of them."""
    return max(1, math.floor(1 / gpus + 1e-9))  # 1 / 0.1 may fall short of 10
