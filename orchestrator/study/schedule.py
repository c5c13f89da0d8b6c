"""The plan -> Ray Tune -> the outcome of each trial."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError, WorkerCrashedError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher
from ray.tune.trainable.function_trainable import wrap_function

from orchestrator import signals
from orchestrator.cluster.connection import placement
from orchestrator.cluster.resources import Limits, Resources
from orchestrator.planning.plan import Trial
from orchestrator.study.session_config import SCRATCH, Events, SessionConfig
from orchestrator.study.worker import answer_sigterm, point_of, run_spec
from trainables.config import Config
from trainables.own_places import take


def run(trials: Sequence[Trial], session_config: SessionConfig, events: Events, folder: Path) -> None:
    """Runs the trials to their ends; a failed one takes no other with it.

    Args:
        folder: where Tune may keep its own files; it is emptied at the end.

    Raises:
        KeyboardInterrupt: the person stopped the study.
    """
    shared = _shared(session_config)
    specs = [
        {
            "name": t.name,
            "config": t.config.model_dump(mode="json"),
            "keys": dict(t.stages),
            "own_files": dict(t.own_files),
            **shared,
        }
        for t in trials
    ]
    names = {trial.name: trial for trial in trials}
    listener = _Listener(lambda config: names[config["spec"]["name"]], session_config.limits, events)
    # Our own order and names; each spec is one trial.
    how = tune.TuneConfig(**_how(session_config), trial_name_creator=_name, trial_dirname_creator=_name)
    _fit({"spec": tune.grid_search(specs)}, how, listener, session_config, folder)


def search(
    searcher: Searcher,
    count: int,
    baseline: Config,
    own_files: Mapping[str, str],
    trial_of: Callable[[Mapping[str, Any]], Trial],
    session_config: SessionConfig,
    events: Events,
    folder: Path,
) -> None:
    """Runs `count` points that the searcher suggests, each one chosen in sight of those before it.

    Args:
        baseline: what the points change.
        own_files: the code of the person's own that all of them run, by path: no point changes a part.
        trial_of: the trial of a point.
        folder: where Tune may keep its own files; it is emptied at the end.

    Raises:
        KeyboardInterrupt: the person stopped the search.
    """
    take(own_files)  # the workers run these, so the points' keys must be of these, whatever is edited
    shared = {"baseline": baseline.model_dump(mode="json"), "own_files": dict(own_files), **_shared(session_config)}
    listener = _Listener(lambda config: trial_of(point_of(config)), session_config.limits, events)
    how = tune.TuneConfig(**_how(session_config), search_alg=searcher, num_samples=count)
    _fit({"shared": shared}, how, listener, session_config, folder)


def _fit(
    param_space: dict[str, Any], how: tune.TuneConfig, listener: _Listener, session_config: SessionConfig, folder: Path
) -> None:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is said by us, in its own line
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
    try:
        tuner = tune.Tuner(
            _worker(session_config.resources),
            param_space=param_space,
            tune_config=how,
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch.resolve()),
                callbacks=[listener],
                failure_config=tune.FailureConfig(max_failures=session_config.limits.max_retries),
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # silent; in a notebook Tune's own would clear our lines away
            ),
        )
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _how(session_config: SessionConfig) -> dict[str, Any]:
    # Importing torch takes longer than a short trial; a worker that has it takes the next one.
    return {"reuse_actors": True, "max_concurrent_trials": session_config.resources.max_concurrent or None}


def _worker(resources: Resources) -> type[tune.Trainable]:
    """What Tune runs of a trial: `run_spec` with these resources, in a worker that answers SIGTERM."""

    class TrialWorker(wrap_function(tune.with_resources(run_spec, placement(resources)))):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            answer_sigterm()  # here is the worker's main thread, the one that may listen; the trial has another
            super().setup(config)

    return TrialWorker


class _Listener(tune.Callback):
    def __init__(self, trial_of: Callable[[Mapping[str, Any]], Trial], limits: Limits, events: Events) -> None:
        self.trial_of, self.limits, self.events = trial_of, limits, events
        self.attempts: Counter[str] = Counter()
        self.heard: dict[str, float] = {}

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # The Tuner pickles its callbacks for a restore; the store makes restores needless, and locks do not pickle.
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        signals.check()

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
            self.events.failed(ours, result["error"], result["lasting"])
        elif "stage" in result:
            self.events.recorded(ours, result)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        ours = self._ours(trial)
        silent_s = time.monotonic() - self.heard[ours.name]
        stalled = silent_s >= self.limits.stall_limit_s
        why = f"stalled: no record for {self.limits.stall_limit_s:g} s" if stalled else _loss(trial)
        attempts = self.attempts[ours.name]
        self.events.failed(ours, f"{why}; {attempts} attempts" if attempts > 1 else why, False)

    def _ours(self, trial: TuneTrial) -> Trial:
        return self.trial_of(trial.config)


def _shared(session_config: SessionConfig) -> dict[str, Any]:
    resources, limits = session_config.resources, session_config.limits
    return {
        "inputs": {name: path and str(path) for name, path in vars(session_config.inputs).items()},
        "store": session_config.store,
        "device": resources.device,
        "gpus": resources.gpus,
        "cpus": resources.cpus,
        "deterministic": resources.deterministic,
        "stall_limit_s": limits.stall_limit_s,
        "checkpoint_interval_s": limits.checkpoint_interval_s,
    }


def _name(trial: TuneTrial) -> str:
    return str(trial.config["spec"]["name"])


def _loss(trial: TuneTrial) -> str:
    """Why Ray lost the trial's worker, in one line."""
    error = trial.get_pickled_error()
    if isinstance(error, RayActorError | WorkerCrashedError):
        return "the worker was lost: killed, out of memory, or its node is gone"
    said = [line.strip() for line in str(error or trial.get_error() or "").splitlines() if line.strip()]
    return said[-1] if said else "the worker ended without a word"
