"""The plan -> Ray Tune -> the outcome of each trial."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from orchestrator import interrupts
from orchestrator.devices import Limits, Resources
from orchestrator.plan import Trial
from orchestrator.worker import run_spec


@dataclass(frozen=True)
class Events:
    """What a study does when one of its trials starts, speaks, or fails for good."""

    started: Callable[[Trial, int], None]  # with the number of the attempt, from 1
    recorded: Callable[[Trial, Mapping[str, Any]], None]
    failed: Callable[[Trial, str], None]


def run(
    trials: Sequence[Trial], store: str, resources: Resources, limits: Limits, events: Events, folder: Path
) -> None:
    """Runs the trials to their ends; a failed one takes no other with it.

    Args:
        store: the artefacts' root, a path or URI that every node reaches.
        folder: where Tune may keep its own files; it is emptied at the end.

    Raises:
        KeyboardInterrupt: the person stopped the study.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is said by us, in its own line
    scratch = Path(tempfile.mkdtemp(prefix=".tune-", dir=folder))
    specs = [_spec(trial, store, resources, limits) for trial in trials]
    try:
        tuner = tune.Tuner(
            tune.with_resources(run_spec, _placement(resources)),
            param_space={"spec": tune.grid_search(specs)},
            tune_config=tune.TuneConfig(
                # Importing torch takes longer than a short trial; a worker that has it takes the next one.
                reuse_actors=True,
                max_concurrent_trials=resources.max_concurrent or None,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch.resolve()),
                callbacks=[_Listener({trial.name: trial for trial in trials}, limits, events)],
                failure_config=tune.FailureConfig(max_failures=limits.max_retries),
                verbose=0,
            ),
        )
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Listener(tune.Callback):
    def __init__(self, trials: Mapping[str, Trial], limits: Limits, events: Events) -> None:
        self.trials, self.limits, self.events = trials, limits, events
        self.attempts: Counter[str] = Counter()
        self.heard: dict[str, float] = {}

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # The Tuner pickles its callbacks for a restore; the store makes restores needless, and locks do not pickle.
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        interrupts.check()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        ours = self._ours(trial)
        self.attempts[ours.name] += 1
        self.heard[ours.name] = time.monotonic()
        self.events.started(ours, self.attempts[ours.name])

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        ours = self._ours(trial)
        self.heard[ours.name] = time.monotonic()
        if "error" in result:
            self.events.failed(ours, result["error"])
        elif "stage" in result:
            self.events.recorded(ours, result)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        ours = self._ours(trial)
        silent_s = time.monotonic() - self.heard[ours.name]
        stalled = silent_s >= self.limits.stall_limit_s
        why = f"stalled: no record for {self.limits.stall_limit_s:g} s" if stalled else _last_line(trial)
        attempts = self.attempts[ours.name]
        self.events.failed(ours, f"{why}; {attempts} attempts" if attempts > 1 else why)

    def _ours(self, trial: TuneTrial) -> Trial:
        return self.trials[trial.config["spec"]["name"]]


def _spec(trial: Trial, store: str, resources: Resources, limits: Limits) -> dict[str, Any]:
    return {
        "name": trial.name,
        "config": trial.config.model_dump(mode="json"),
        "store": store,
        "device": resources.device,
        "cpus": resources.cpus,
        "stall_limit_s": limits.stall_limit_s,
        "checkpoint_interval_s": limits.checkpoint_interval_s,
    }


def _name(trial: TuneTrial) -> str:
    return str(trial.config["spec"]["name"])


def _placement(resources: Resources) -> dict[str, float]:
    return {"cpu": resources.cpus, "gpu": resources.gpus} if resources.gpus else {"cpu": resources.cpus}


def _last_line(trial: TuneTrial) -> str:
    """Why Ray lost the worker, in one line."""
    path = trial.error_file
    text = Path(path).read_text(errors="replace") if path and Path(path).exists() else ""
    if "ActorDiedError" in text or "ActorUnavailableError" in text or "WorkerCrashedError" in text:
        return "the worker was lost: killed, out of memory, or its node is gone"
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return said[-1] if said else "the worker ended without a word"
