"""The MLflow experiment of a study: opened, or made with the mark that says whose it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.planning.plan import Study
from orchestrator.tracking.backend import prove_files, reason
from orchestrator.tracking.records import note
from orchestrator.tracking.runs_table import VIEW, saved_view
from results.alpha_spending import TAG, from_text
from trainables.canonical import identified
from trainables.own_parts import load
from trainables.store import hashed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

PAGE = 1000  # runs a request
NOTE = "mlflow.note.content"  # above the experiment's runs


def opened(client: MlflowClient, study: Study, uri: str, artifacts: Path | None) -> str:
    """The id of the study's experiment, which is made if it is not there.

    Args:
        uri: of the tracking store.
        artifacts: the folder for its files; None where a server has its own.

    Raises:
        UsageError: it belongs to another baseline or to nobody, or was deleted; or there is no place for its files.
    """
    found, identity = client.get_experiment_by_name(study.name), _identity(study)
    if found is None:
        location = f"{artifacts.resolve().as_uri()}/{study.name}" if artifacts else None
        # With its mark from the first moment on: without one it would be nobody's.
        found = client.get_experiment(client.create_experiment(study.name, location, {"baseline": identity}))
    else:
        _refuse_others(found, identity)
    try:
        prove_files(found.artifact_location, uri)
    except Exception as error:  # each filesystem has errors of its own
        where = found.artifact_location
        raise UsageError(f"--tracking-uri: MLflow takes no files at {where} ({reason(error)})") from None
    client.set_experiment_tag(found.experiment_id, f"mlflow.sharedViewState.{VIEW}", saved_view(study))
    if own := study.baseline.fid.own:
        directions = {name: bool(getattr(load(part), "higher_is_better", False)) for name, part in own.items()}
        client.set_experiment_tag(found.experiment_id, "higher_is_better", json.dumps(directions))
    if study.design:
        client.set_experiment_tag(found.experiment_id, "design", json.dumps(asdict(study.design)))
    if study.objective:
        client.set_experiment_tag(found.experiment_id, "objective", study.objective)
    return str(found.experiment_id)


def note_look(client: MlflowClient, experiment_id: str, asked: Iterable[int], finished: Iterable[int]) -> None:
    """Notes that a command looks at the study with these seeds, before its first trial: a plan is one made beforehand.

    Args:
        asked: the seeds of the command.
        finished: the seeds that have results already.
    """
    looks = from_text(client.get_experiment(experiment_id).tags.get(TAG, ""))
    if (after := looks.after(asked, finished)) != looks:
        client.set_experiment_tag(experiment_id, TAG, after.as_text())


def runs_of(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    """All runs of the experiment that are not deleted, page by page."""
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def describe(client: MlflowClient, experiment_id: str, markdown: str) -> None:
    """Puts `markdown` above the experiment's table of runs; what a person wrote there stays."""
    found = client.get_experiment(experiment_id).tags.get(NOTE, "")
    client.set_experiment_tag(experiment_id, NOTE, note(markdown, found))


def _refuse_others(found: Experiment, identity: str) -> None:
    if found.lifecycle_stage != "active":
        raise UsageError(f"--name: the study {found.name!r} was deleted in MLflow; choose another name")
    if "baseline" not in found.tags:
        raise UsageError(f"--name: the experiment {found.name!r} in MLflow is no study of ours; choose another name")
    if found.tags["baseline"] != identity:
        raise UsageError(f"--name: the study {found.name!r} has another baseline or other data; choose another name")


def _identity(study: Study) -> str:
    return hashed([identified(study.baseline), study.about.fingerprint])
