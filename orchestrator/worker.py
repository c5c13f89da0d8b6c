"""What runs in a Ray worker: one trial, its records passed on to the driver. It never talks to MLflow."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

REPORT_INTERVAL_S = 1.0  # for records that only show that the trial lives


def run_spec(tune_config: dict[str, Any]) -> None:
    """Runs the trial that `tune_config["spec"]` describes and reports its records to Tune."""
    # Imported here: the driver pickles this function and must not load torch for it.
    import torch
    from ray import tune

    from trainables.config import Config
    from trainables.pipeline import run_trial
    from trainables.store import Store

    spec = tune_config["spec"]
    torch.set_num_threads(max(1, int(spec["cpus"])))
    stage, reported = "", 0.0
    for record in run_trial(Config.model_validate(spec["config"]), Store(spec["store"]), spec["device"]):
        now = time.monotonic()
        if record.metrics or record.result or record.stage != stage or now - reported > REPORT_INTERVAL_S:
            tune.report(asdict(record))
            stage, reported = record.stage, now
