"""`python -m orchestrator.run search`: Optuna suggests one configuration after another, through Ray Tune.

Its own records are in `studies/NAME/optuna.db` in the storage folder, so a search goes on after any end, and with
more trials. The objective is measured on labelled images that are neither trained on nor held out: the best of many
would otherwise be the luckiest on the images that it is reported on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch
from rich.table import Table

from orchestrator.cluster.resources import device_told
from orchestrator.console import console
from orchestrator.planning import plan
from orchestrator.planning.plan import Study, Trial
from orchestrator.planning.settings import described
from orchestrator.storage.locations import Locations
from orchestrator.storage.registry import Registry
from orchestrator.study import schedule
from orchestrator.study.memory import of_other_code, opened_memory
from orchestrator.study.progress import open_log
from orchestrator.study.session import Session
from orchestrator.study.session_config import SessionConfig
from orchestrator.study.study import claimed, show
from orchestrator.tracking.writer import MLflowWriter
from search_spaces.tuning import Space, decoded
from trainables.randomness import derived_seed

SHOWN = 10  # of the best points


def run(
    study: Study, space: Space, trials: int, locations: Locations, session_config: SessionConfig, address: str
) -> int:
    """The exit code of the search: 0 if every point ended well, 1 if one failed, 130 if the person stopped it.

    Args:
        space: dotted settings with their ranges.
        trials: points in all, those of earlier sessions counted.
        session_config: of this session; its store is replaced by that of the locations.
        address: of the Ray cluster.

    Raises:
        UsageError: another process runs this search.
    """

    def work(study: Study, locations: Locations) -> int:
        return _run(study, space, trials, locations, replace(session_config, store=locations.store), address)

    return claimed(study, locations, False, work)


def _run(
    study: Study, space: Space, trials: int, locations: Locations, session_config: SessionConfig, address: str
) -> int:
    with open_log(locations.study(study.name)) as log:
        memory = opened_memory(study, space, locations)  # first: without it nothing is made in MLflow
        session = Session(study, locations, log)
        done = len(memory.get_trials(states=[TrialState.COMPLETE]))
        session.board.line(f"search {study.name}: {trials} points: {done} done, {max(0, trials - done)} to run")
        session.board.line(device_told(session_config.resources, address))
        if others := of_other_code(memory):
            session.board.line(f"measured by other code, and counted no more: {others} points")
        interrupted = False
        if done < trials:
            searcher = _Searcher(
                space=space,
                metric=study.objective,
                mode="max",
                study_name=memory.study_name,
                storage=memory._storage,
                # Else the sampler of a later session would begin with the points of the first.
                seed=derived_seed(study.baseline.seed, "search", len(memory.trials)) % 2**32,
            )
            points = _Points(study, locations, session)
            run = partial(
                schedule.search, searcher, trials - done, study.baseline, study.own.files, points, session_config,
                session.events, session.folder,
            )  # fmt: skip
            interrupted = session.scheduled(run, session_config.resources, address)
        return session.close(interrupted, lambda writer: _show(study, locations, memory, writer))


class _Searcher(OptunaSearch):
    """Ray's, told of the ends of points alone: what they say on the way holds no objective."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: no point is cut short."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The point's objective goes to Optuna; a point without one has failed."""
        super().on_trial_complete(trial_id, result, error or not result or self.metric not in result)


class _Points:
    """The trials of the points, each made when Optuna first suggests it."""

    def __init__(self, study: Study, locations: Locations, session: Session) -> None:
        self.study, self.session, self.registry = study, session, Registry(locations.store)
        self.known: dict[str, Trial] = {}

    def __call__(self, suggested: Mapping[str, Any]) -> Trial:
        trial = plan.point(self.study, decoded(suggested), len(self.known))
        if trial.name not in self.known:
            self.known[trial.name] = trial
            self.session.add(trial)
            self.registry.enter(self.study.name, self.study.generation, [trial])
        return self.known[trial.name]


def _show(study: Study, locations: Locations, memory: optuna.Study, writer: MLflowWriter) -> None:
    """Prints the best points, the best one as words for the command line, and where the rest is."""
    out, finished = console(), memory.get_trials(states=[TrialState.COMPLETE])
    best = sorted(finished, key=lambda trial: -float(trial.value or 0.0))
    table = Table("point", study.objective, title=f"the best of {len(finished)} points", title_justify="left")
    for trial in best[:SHOWN]:
        table.add_row(described(decoded(trial.params)), f"{trial.value:.4f}")
    out.print()
    if best:
        out.print(table)
        settings = " ".join(f"--set {name}={_word(value)}" for name, value in best[0].params.items())
        out.print("the best, for a study that measures it on the held-out images with several seeds:")
        out.print(f"  {settings}", soft_wrap=True)
    show(study.name, locations, out, writer, brief=True)


def _word(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else f"{value}"
