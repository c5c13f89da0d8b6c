"""What Optuna keeps of a search: its database in the study's folder. Imports no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import URL

from orchestrator.errors import UsageError
from orchestrator.planning.plan import Study
from orchestrator.storage.locations import Locations
from search_spaces.tuning import Space, encoded


def check_memory(study: Study, locations: Locations) -> None:
    """Passes if what Optuna keeps of the search can be used, or if there is nothing yet; nothing is written.

    Raises:
        UsageError: a database that is broken, or of another Optuna.
    """
    path = _path(study, locations)
    if path.exists() and path.stat().st_size:
        _opened(path, database=f"file:{quote(str(path.resolve()))}", query={"mode": "ro", "uri": "true"})


def opened_memory(study: Study, space: Space, locations: Locations) -> optuna.Study:
    """What Optuna knows of the search. Points that were running when a driver was killed are to be run again.

    Raises:
        UsageError: a database that is broken, or of another Optuna.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = _path(study, locations)
    if not path.exists():
        path.touch()  # SQLite would let nobody else write to it, whatever the umask says
    storage = _opened(path, database=str(path))
    # Code and the metric's definition are part of what a point is: those of others must not choose the next ones.
    name = f"{study.name}-{study.stages(study.baseline)['segmentation']}"
    memory = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    first = encoded(study.baseline, space)
    if not memory.trials and first is not None:
        memory.enqueue_trial(first)  # what the others must beat
    for cut in memory.get_trials(states=[TrialState.RUNNING]):
        memory.tell(cut.number, state=TrialState.FAIL)
        memory.enqueue_trial(cut.params)
    return memory


def of_other_code(memory: optuna.Study) -> int:
    """The points in the same file that were measured to their end by other code."""
    known = optuna.get_all_study_summaries(memory._storage)
    others = [optuna.load_study(study_name=s.study_name, storage=memory._storage) for s in known]
    ended = [len(o.get_trials(states=[TrialState.COMPLETE])) for o in others if o.study_name != memory.study_name]
    return sum(ended)


def _path(study: Study, locations: Locations) -> Path:
    return locations.study(study.name) / "optuna.db"


def _opened(path: Path, **address: Any) -> RDBStorage:
    uri = URL.create("sqlite", **address).render_as_string()
    try:
        # Optuna takes braces in it for a template.
        return RDBStorage(uri.replace("{", "{{").replace("}", "}}"))
    except Exception as error:  # SQLAlchemy's, alembic's and Optuna's own
        raise UsageError(f"--storage: Optuna cannot use {path} ({str(error).partition(chr(10))[0]})") from None
