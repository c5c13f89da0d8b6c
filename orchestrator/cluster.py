"""Ray's start and end."""

from __future__ import annotations

import logging
import os
from typing import Any

from orchestrator.devices import Resources, cpus, gpus

# Set before Ray and MLflow are imported. Ray's memory monitor ends the whole study where one trial should fail; its own
# progress and loggers would say everything twice, and MLflow prints an address for each run; usage statistics are not
# ours to send.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # our records on the way have no objective
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def set_environment() -> None:
    """Sets what Ray and MLflow read while they are imported, and Ray in its workers; what the person has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def start_ray(address: str, resources: Resources) -> None:
    """Joins the Ray cluster at `address`; "local" starts one of our own on this machine, whatever else runs here."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address != "local":
        ray.init(address=address, **quiet)
        return
    ray.init(
        address="local",
        num_cpus=cpus(),
        num_gpus=len(gpus()) if resources.gpus else 0,
        include_dashboard=False,
        **quiet,
    )


def demand(address: str, resources: Resources, trials: int) -> None:
    """Asks the autoscaler of the cluster at `address` for room for so many trials, all at once; 0 lets its nodes go.

    A Ray of our own has nobody to ask.
    """
    if address == "local":
        return
    from ray.autoscaler.sdk import request_resources

    at_once = min(trials, resources.max_concurrent or trials)
    request_resources(bundles=[placement(resources)] * at_once)


def placement(resources: Resources) -> dict[str, float]:
    """What Ray reserves for a trial."""
    return {"CPU": resources.cpus, "GPU": resources.gpus} if resources.gpus else {"CPU": resources.cpus}


def stop_ray() -> None:
    """Ends a Ray of our own and every process that it started, or leaves the cluster."""
    import ray

    ray.shutdown()
