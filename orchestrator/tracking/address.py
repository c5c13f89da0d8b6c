"""Where MLflow's runs are kept, and whether that can be used: looked at without MLflow, and nothing is written."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

from orchestrator.errors import UsageError

SQLITE = "sqlite:///"
SCHEMES = (SQLITE, "http://", "https://", "postgresql", "mysql")
LOCK_LIMIT_S = 30.0  # that another process may hold the database
UNADDRESSED = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # what an address cannot say as it is: MLflow would look elsewhere


def database_path(uri: str) -> Path | None:
    """The file of a SQLite address; None where the address is another's."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def check_tracking(uri: str, given: bool) -> None:
    """Passes if MLflow's store at `uri` can be used, or at least looks so from here; nothing is created.

    Args:
        given: whether the person named it; else it lies in the storage folder, which may not be there yet.

    Raises:
        UsageError: a scheme that MLflow does not track to, a server that does not answer, a folder that is not there,
            a path that no address can say, a database that is broken, another program's or another MLflow's.
    """
    # What follows a question mark in an address is no part of the path, but in a path of ours it is.
    path = database_path(uri) if given or not uri.startswith(SQLITE) else Path(uri.removeprefix(SQLITE))
    if given:
        _check_uri(uri, path)
    if path:
        _check_database(path, "--tracking-uri" if given else "--storage")


def _check_uri(uri: str, path: Path | None) -> None:
    if not uri.startswith(SCHEMES):
        raise UsageError(f"--tracking-uri: must begin with one of {', '.join(SCHEMES)}, but got {uri!r}")
    if uri.startswith("http"):
        _check_server(uri)
    elif path and path.is_dir():
        raise UsageError(f"--tracking-uri: must name a file, but got {uri!r}")
    elif path and not path.parent.is_dir():
        raise UsageError(f"--tracking-uri: the folder of {uri} is not there")


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=2) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise UsageError(f"--tracking-uri: {uri} answers {error.code}; is it an MLflow server?") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UsageError(f"--tracking-uri: no MLflow server answers at {uri} ({reason})") from None


def _check_database(path: Path, option: str) -> None:
    if odd := UNADDRESSED.search(str(path)):
        raise UsageError(f"{option}: MLflow cannot keep a database at {path}: no {odd[0]!r} may be in its path")
    try:
        found = _revision(path) if path.exists() and path.stat().st_size else None
    except (OSError, sqlite3.Error) as error:
        raise UsageError(f"{option}: {path} is no database of MLflow, or is broken ({error})") from None
    known = revisions()
    if found and found != known[-1]:
        older = f"an older MLflow: copy it, then run `mlflow db upgrade sqlite:///{path.resolve()}`"
        whose = older if found in known else "a newer MLflow than the one that is installed"
        raise UsageError(f"{option}: the database {path} is of {whose}")


def _revision(path: Path) -> str:
    """The revision of the database's tables.

    Raises:
        sqlite3.Error: it is no database, not MLflow's, or broken.
    """
    # Where nobody has it open, a reader would leave the files of a writer beside it.
    how = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    uri = f"{path.resolve().as_uri()}?{how}"
    with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_LIMIT_S)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict.splitlines()[-1])
        ((found,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall() or [("none",)]
        return str(found)


def revisions() -> list[str]:
    """The revisions of MLflow's tables that the installed MLflow knows, the one that it works with last."""
    spec = importlib.util.find_spec("mlflow")  # which is not imported: that takes seconds
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], "store", "db_migrations", "versions")
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    before = {match[1]: _before(text) for text in texts if (match := re.search(r'^revision = "(\w+)"', text, re.M))}
    (newest,) = before.keys() - set(before.values())
    return sorted(before, key=lambda revision: revision == newest)


def _before(text: str) -> str:
    match = re.search(r'^down_revision = "(\w+)"', text, re.M)
    return match[1] if match else ""
