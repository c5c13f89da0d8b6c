"""MLflow's stores of runs and files: made whole, proved to take what we write, and their errors told in one line."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrator.errors import UsageError
from orchestrator.planning.plan import Trial
from trainables.claims import Claims
from trainables.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "PERMISSION_DENIED")


def create_database(path: Path) -> None:
    """Makes MLflow's database whole or not at all: half made, or made by two at once, it is broken for good."""
    from mlflow import MlflowClient

    if not path.exists():
        with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as folder:
            made = Path(folder, "mlflow.db")
            made.touch()  # SQLite would let nobody else write to it, whatever the umask says
            MlflowClient(tracking_uri=f"sqlite:///{made}").search_experiments()
            _name(made, path)
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # lets the MLflow page read while the driver writes


def follow_folder(path: Path, artifacts: Path) -> str:
    """Where the files of the database's experiments were, if its folder has been moved since; "" if not.

    MLflow keeps absolute addresses. Those of files that lay in `mlflow-artifacts` beside the database are rewritten to
    the folder that lies there now: else a study would make the old place again, and its pictures would be lost to it.

    Args:
        path: the database's.
        artifacts: the study's folder of files; one that is not beside the database did not move with it.
    """
    here, moved = artifacts.resolve().as_uri(), ""
    if path.parent.resolve() != artifacts.parent.resolve():
        return ""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        found = connection.execute(
            "SELECT e.artifact_location, e.name FROM experiments e JOIN experiment_tags t USING (experiment_id) "
            "WHERE t.key = 'baseline'"
        )
        for location, name in found.fetchall():
            root = location.removesuffix(f"/{name}").removesuffix(f"/{quote(name)}")
            if root in (here, location) or not root.endswith(f"/{artifacts.name}"):
                continue
            moved = root
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (here, len(root) + 1, len(root) + 1, f"{root}/"),
                )
    return moved


def settle_database(path: Path) -> None:
    """Brings all that was written into the one file that a person copies: it may lie beside, in mlflow.db-wal.

    What stands against it costs nothing: the next who opens the database does the same.
    """
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _name(made: Path, path: Path) -> None:
    """Gives the file its name, unless another process has just made one: a rename would take it from its users."""
    try:
        os.link(made, path)
    except FileExistsError:
        return
    except OSError:  # a filesystem without hard links
        claims = Claims(Store(path.parent))
        while not path.exists():
            if claim := claims.claim(f"{path.name}-is-named"):
                with claim:
                    if not path.exists():
                        os.replace(made, path)
            else:
                time.sleep(random.uniform(0.1, 0.5))  # else two that saw each other would do so again


def prove_files(location: str, uri: str) -> None:
    """Writes a file where a study's pictures go, and removes it; raises whatever stands against the writing.

    Args:
        location: the experiment's.
        uri: of the tracking store.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder = f"probe-{uuid.uuid4().hex}"
    files: Any = get_artifact_repository(location, tracking_uri=uri)
    with tempfile.NamedTemporaryFile(prefix="probe-") as probe:
        files.log_artifact(probe.name, folder)
    with contextlib.suppress(Exception):  # who may write may not be allowed to remove
        files.delete_artifacts(folder)


def keep_file(client: MlflowClient, experiment_id: str, path: Path) -> None:
    """Puts the file beside the folders of the experiment's runs."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    location = client.get_experiment(experiment_id).artifact_location
    files: Any = get_artifact_repository(location, tracking_uri=client.tracking_uri)
    files.log_artifact(str(path))


def upload(
    client: MlflowClient, run_id: str, trial: Trial, result: Mapping[str, Any], pictures: Mapping[str, Path], study: str
) -> None:
    """Puts a finished trial's files into its run: the pictures, its settings, its result, a person's own code.

    Args:
        study: the text of the file of which it is a trial; "" for none.
    """
    for picture in pictures.values():
        client.log_artifact(run_id, str(picture), "pictures")
    texts = {"study.yaml": study} if study else {}
    for name, content in (("config.json", trial.config.model_dump()), ("result.json", dict(result))):
        texts[name] = json.dumps(content, indent=1)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            path = Path(folder, name)
            path.write_text(text, encoding="utf-8")
            client.log_artifact(run_id, str(path))
        for name, text in trial.own_files.items():
            path = Path(folder, "code", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            client.log_artifact(run_id, str(path), Path("code", name).parent.as_posix())


def is_transient(error: Exception) -> bool:
    """Whether the store may take the record later; what it refuses, or what is our own mistake, it will not."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in REFUSALS
    return isinstance(error, OSError)  # as are the errors of a connection


def reason(error: Exception) -> str:
    """What stands between us and MLflow, in one line without a password."""
    if isinstance(error, UsageError):
        return str(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401 or getattr(error, "error_code", "") == "UNAUTHENTICATED":
        return "it wants a user and a password: ~/.mlflow/credentials, or MLFLOW_TRACKING_USERNAME and ..._PASSWORD"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_password(": ".join([type(error).__name__, *lines[:1]]))


def without_password(text: str) -> str:
    """The text with the password of each address in it covered."""
    return re.sub(r"(://[^/@\s:]*:)[^@\s]*@", r"\1***@", text)
