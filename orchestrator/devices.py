"""What this machine has, found without torch, and how long a trial would take on it."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.plan import Trial
from trainables.store import Store

# Guesses until a training has been measured here: small networks reach a part of a matrix product's speed.
CPU_SHARE = 0.25
GPU_FLOPS = 5e12


@dataclass(frozen=True)
class Speed:
    """Floating-point operations a second that a trial's one device reaches, and where that figure comes from."""

    flops: float
    source: str


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


def measured_speed(store: Store, trials: Iterable[Trial], device: str) -> Speed | None:
    """The speed of the study's trainings that the store already holds from this kind of device."""
    rates = []
    for trial in trials:
        if "ddpm" in trial.stages and trial.flops["ddpm"] and store.has("ddpm", trial.stages["ddpm"]):
            facts = store.manifest("ddpm", trial.stages["ddpm"])["facts"]
            if facts["device"] == device:
                rates.append(trial.flops["ddpm"] / facts["wall_time_s"])
    return Speed(statistics.median(rates), f"{len(rates)} trainings of this study in the store") if rates else None


def guessed_speed(gpu: bool) -> Speed:
    """A first guess: on a CPU from a short matrix product on one core, on a GPU a round figure."""
    if gpu:
        return Speed(GPU_FLOPS, "a guess: no training of this study has been measured on this GPU")
    # One core, as a trial has; the variable must be set before numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import numpy as np

    size = 768
    a = np.ones((size, size), dtype=np.float32)
    a @ a
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return Speed(CPU_SHARE * 2 * size**3 / min(times), "a guess from a matrix product on one core")
