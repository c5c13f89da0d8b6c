"""How fast a trial would run here: by the trainings that the store holds, else by a guess."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.planning.plan import Trial
from trainables.store import Store

# Guesses until a training has been measured here: small networks reach a part of a matrix product's speed.
CPU_SHARE = 0.25
GPU_FLOPS = 5e12


@dataclass(frozen=True)
class Speed:
    """Floating-point operations a second that a trial's one device reaches, and where that figure comes from."""

    flops: float
    source: str


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
