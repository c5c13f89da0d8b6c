"""The plan -> Ray Tune -> the outcome of each trial."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from orchestrator.devices import Resources
from orchestrator.plan import Trial
from orchestrator.worker import run_spec


@dataclass(frozen=True)
class Events:
    """What a study does when one of its trials starts, speaks, ends well or fails."""

    started: Callable[[Trial], None]
    recorded: Callable[[Trial, Mapping[str, Any]], None]
    failed: Callable[[Trial, str], None]


def run(trials: Sequence[Trial], store: str, resources: Resources, events: Events, folder: Path) -> None:
    """Runs the trials to their ends; a failed one takes no other with it.

    Args:
        store: the artefacts' root, a path or URI that every node reaches.
        folder: where Tune may keep its own files; it is emptied at the end.

    Raises:
        KeyboardInterrupt: the person stopped the study.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is said by us, in its own line
    scratch = Path(tempfile.mkdtemp(prefix=".tune-", dir=folder))
    specs = [_spec(trial, store, resources) for trial in trials]
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
                callbacks=[_Listener({trial.name: trial for trial in trials}, events)],
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Listener(tune.Callback):
    def __init__(self, trials: Mapping[str, Trial], events: Events) -> None:
        self.trials, self.events = trials, events

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # The Tuner pickles its callbacks for a restore; the store makes restores needless, and locks do not pickle.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.events.started(self._ours(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        if "stage" in result:
            self.events.recorded(self._ours(trial), result)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.events.failed(self._ours(trial), _last_line(trial))

    def _ours(self, trial: TuneTrial) -> Trial:
        return self.trials[trial.config["spec"]["name"]]


def _spec(trial: Trial, store: str, resources: Resources) -> dict[str, Any]:
    return {
        "name": trial.name,
        "config": trial.config.model_dump(mode="json"),
        "store": store,
        "device": resources.device,
        "cpus": resources.cpus,
    }


def _name(trial: TuneTrial) -> str:
    return str(trial.config["spec"]["name"])


def _placement(resources: Resources) -> dict[str, float]:
    return {"cpu": resources.cpus, "gpu": resources.gpus} if resources.gpus else {"cpu": resources.cpus}


def _last_line(trial: TuneTrial) -> str:
    path = trial.error_file
    lines = Path(path).read_text(errors="replace").splitlines() if path and Path(path).exists() else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "the worker ended without a word"
