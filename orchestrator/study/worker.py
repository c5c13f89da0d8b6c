"""What runs in a Ray worker: one trial, its records passed on to the driver. It never talks to MLflow.

An exception of the trial's own is reported as a record: it would come again, so Ray must not retry it. Only a worker
that is lost (killed, its node gone, out of host memory, stalled) fails in Ray's eyes, and is tried again from the
last checkpoint.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

REPORT_INTERVAL_S = 1.0  # for records that only show that the trial lives
LEAVING_S = 10.0  # that a last checkpoint may take
ARM_INTERVAL_S = 0.1  # the stall timer is a thread: not one for each of a thousand records a second


def run_spec(tune_config: dict[str, Any]) -> None:
    """Runs the trial that Tune's configuration describes and reports its records to Tune."""
    # Imported here: the driver pickles this function and must not load torch for it.
    import torch
    from ray import tune

    from trainables.determinism import set_determinism

    spec = tune_config.get("spec") or {**tune_config["shared"], "point": point_of(tune_config)}
    set_determinism(torch.device(spec["device"]), int(spec["cpus"]), spec["deterministic"])
    try:
        _run(spec, tune.report)
    except Exception as error:
        traceback.print_exc()
        said = {"error": _one_line(error), "traceback": traceback.format_exc(), "lasting": lasting(error)}
        tune.report({"stage": "failed", **said})
    finally:
        faulthandler.cancel_dump_traceback_later()
        release_memory()


def answer_sigterm() -> None:
    """From now on SIGTERM, a spot machine's notice, is answered with a last checkpoint before this process goes."""
    before = signal.getsignal(signal.SIGTERM)

    def leave(number: int, frame: FrameType | None) -> None:
        from trainables.checkpoints import Checkpoints  # only now: it imports torch

        Checkpoints.save_before_leaving(LEAVING_S)
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)


def lasting(error: Exception) -> bool:
    """Whether the same command would fail the same way: not where a disk, a network or memory is short."""
    import torch

    from trainables.pipeline import Changed

    return not isinstance(error, OSError | MemoryError | torch.OutOfMemoryError | Changed)


def point_of(tune_config: Mapping[str, Any]) -> dict[str, Any]:
    """What a searcher has suggested: all that is not shared by the points."""
    return {name: value for name, value in tune_config.items() if name != "shared"}


def _run(spec: dict[str, Any], report: Any) -> None:
    from search_spaces.tuning import decoded
    from trainables.config import Config, apply
    from trainables.inputs import Inputs
    from trainables.own_places import take
    from trainables.pipeline import run_trial
    from trainables.store import Store

    take(spec["own_files"])
    config = Config.model_validate(spec.get("config") or spec["baseline"])
    if "point" in spec:
        config = apply(config, decoded(spec["point"]))
    store = Store(spec["store"])
    inputs = Inputs(**{name: path and Path(path) for name, path in spec["inputs"].items()})
    stage, reported, armed = "", 0.0, time.monotonic()
    _arm(spec["stall_limit_s"])
    device, keys = spec["device"], spec.get("keys")
    trial = run_trial(config, store, device, spec["checkpoint_interval_s"], inputs, spec["gpus"], keys)
    for record in trial:
        now = time.monotonic()
        says = record.metrics or record.history or record.note or record.result or record.stage != stage
        told = says or now - reported > REPORT_INTERVAL_S
        if told:
            faulthandler.cancel_dump_traceback_later()  # until the driver has heard it, the silence is the driver's
            figures = record.result["metrics"] if record.result else {}  # a searcher reads its objective there
            report(asdict(record) | figures)
            stage, reported = record.stage, now
        if told or now - armed > ARM_INTERVAL_S:
            _arm(spec["stall_limit_s"])
            armed = now


def _arm(stall_limit_s: float) -> None:
    """Ends this process if the trial says nothing for so long, even where Python itself hangs."""
    faulthandler.dump_traceback_later(stall_limit_s, exit=True)


def release_memory() -> None:
    """Gives the system what a trial has freed: each one runs in a thread of its own, and glibc keeps its heap else."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
