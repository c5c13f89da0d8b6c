"""What a trial gets of a machine: its cores and GPUs, found without torch, and how much may go wrong on the way."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cluster.cores import cpus
from orchestrator.errors import UsageError

SMI_LIMIT_S = 10.0  # for an answer of nvidia-smi; a driver that is broken lets it hang
NO_GPUS = "No devices were found"
ON_THE_CPU = "--gpus-per-trial 0 runs the trials on the CPU without it"


@dataclass(frozen=True)
class Resources:
    """What one trial gets, how many run at once (0: as many as fit), and whether no core may change its figures."""

    cpus: float
    gpus: float
    max_concurrent: int = 0
    deterministic: bool = True

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


def gpus() -> list[str]:
    """The names of the GPUs that this process may use.

    Raises:
        UsageError: this machine seems to have some, and does not tell which.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    names = installed_gpus()
    return names if visible is None else names[: len(visible.split(","))]


def installed_gpus() -> list[str]:
    """The names of this machine's GPUs, whether this process may use them or not.

    Raises:
        UsageError: nvidia-smi, which tells them, hangs or fails.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=SMI_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"nvidia-smi: no answer within {SMI_LIMIT_S:g} s; {ON_THE_CPU}") from None
    except OSError as error:
        raise UsageError(f"nvidia-smi: cannot be run ({error.strerror}); {ON_THE_CPU}") from None
    lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if NO_GPUS in answer.stdout + answer.stderr:
        return []
    if answer.returncode:
        why = (answer.stderr.split("\n")[0] or " ".join(lines[:1])).strip() or f"exit code {answer.returncode}"
        raise UsageError(f"nvidia-smi: fails ({why}); {ON_THE_CPU}")
    return lines


def device_told(resources: Resources, address: str) -> str:
    """Which device the trials run on, in words; where a GPU stays idle, that too.

    Args:
        address: of the Ray cluster; what a cluster has is not known here.
    """
    share = f"{resources.gpus:g} GPU" if resources.gpus else f"{resources.cpus:g} CPU cores"
    if address != "local":
        return f"device: {share} a trial, of the Ray cluster at {address}"
    if resources.gpus:
        return f"device: {', '.join(sorted(set(gpus())))}, {share} a trial, of {len(gpus())}"
    one = ""
    if resources.deterministic and resources.cpus > 1:
        one = ", of which torch uses one (--no-deterministic uses all: last digits then depend on their number)"
    return f"device: CPU, {resources.cpus:g} of {cpus()} cores a trial{one}{_idle_gpus()}"


def _idle_gpus() -> str:
    try:
        names = installed_gpus()
    except UsageError:
        return "; this machine seems to have a GPU, which is not used"
    if names:
        hidden = "CUDA_VISIBLE_DEVICES hides them" if not gpus() else "--gpus-per-trial 0"
        return f"; this machine's GPUs are not used ({hidden}): {', '.join(names)}"
    nodes = [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    return f"; no nvidia-smi, so not used: {', '.join(nodes)}" if nodes else ""


def trials_a_gpu(gpus: float) -> int:
    """How many trials run on one GPU, each of which is given so many of them."""
    return max(1, math.floor(1 / gpus + 1e-9))  # 1 / 0.1 may fall short of 10
