"""Ray's start and end."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from orchestrator import signals
from orchestrator.cluster.cores import cpus
from orchestrator.cluster.resources import Resources, gpus
from orchestrator.errors import UsageError, one_line

# Set before Ray and MLflow are imported. Ray's memory monitor ends the whole study where one trial should fail; its own
# progress and loggers would say everything twice, and MLflow prints an address for each run; usage statistics are not
# ours to send. MLflow would ask a server that fails for minutes, with nothing said: the writer asks again itself.
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
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def set_environment() -> None:
    """Sets what Ray and MLflow read while they are imported, and Ray in its workers; what the person has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def start_ray(address: str, resources: Resources) -> None:
    """Joins the Ray cluster at `address`; "local" starts one of our own on this machine, whatever else runs here.

    Raises:
        UsageError: there is no such cluster, or it does not take us.
    """
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address != "local":
        _join(address, quiet)
        return
    with signals.children_outlive_hangup():
        ray.init(
            address="local",
            num_cpus=cpus(),
            num_gpus=len(gpus()) if resources.gpus else 0,
            include_dashboard=False,
            **quiet,
        )


def _join(address: str, quiet: Mapping[str, Any]) -> None:
    import ray
    from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        found = ray._private.services.canonicalize_bootstrap_address_or_die(address)
        # The two say at once what `ray.init` would say after half a minute, and at length.
        ensure_token_if_auth_enabled(create_token_if_missing=False)
        GcsClient(address=found)
        ray.init(address=found, **quiet)
    except ray.exceptions.AuthenticationError:
        raise UsageError(
            f"--address: the Ray cluster at {address} wants its token: RAY_AUTH_MODE=token, and the token in "
            "~/.ray/auth_token or the file that RAY_AUTH_TOKEN_PATH names (docs/cluster.md)"
        ) from None
    except Exception as error:  # Ray has many for a cluster that is not there or does not take us
        raise UsageError(f"--address: no Ray cluster takes us at {address} ({one_line(error)})") from None


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
