"""Where MLflow's runs are kept: databases that cannot be used are told in one line, and nothing is touched."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_latest_schema_revision

from orchestrator.errors import UsageError
from orchestrator.run import main
from orchestrator.tracking.address import check_tracking, database_path, revisions
from orchestrator.tracking.backend import create_database


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A database as a study leaves it."""
    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    create_database(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE filler AS SELECT randomblob(100000) AS bytes")
        connection.commit()
    return path


def set_revision(path, revision):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


def overwrite(path, at, content):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def another_programs(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (a)")
        connection.commit()


BROKEN = {
    "an older MLflow: copy it, then run `mlflow db upgrade": lambda p: set_revision(p, revisions()[0]),
    "a newer MLflow than the one that is installed": lambda p: set_revision(p, "fedcba987654"),
    "is no database of MLflow, or is broken (file is not a database)": lambda p: p.write_text("text " * 1000),
    "or is broken (no such table: alembic_version)": another_programs,
    "or is broken (database disk image is malformed)": lambda p: os.truncate(p, p.stat().st_size // 2),
    "or is broken (": lambda p: overwrite(p, p.stat().st_size // 2, bytes(8192)),
}
COMMANDS = (
    ["ablations"], ["ablations", "--dry-run"], ["segmentation"], ["search", "--space=segmentation", "--trials=1"],
    ["check"], ["report", "mine"], ["ui", "--port=1"],
)  # fmt: skip


def listed(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("said", BROKEN)
def test_a_database_that_cannot_be_used_is_refused_by_every_command(said, whole, tmp_path, capsys):
    storage = tmp_path / "runs"
    storage.mkdir()
    shutil.copy(whole, storage / "mlflow.db")
    BROKEN[said](storage / "mlflow.db")
    before = listed(storage)
    for words in COMMANDS:
        assert main([*words, "--storage", str(storage)]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert err.startswith("error: --storage: ") and str(storage / "mlflow.db") in err
        assert said in err
    assert listed(storage) == before


def test_a_whole_database_passes_and_keeps_its_bytes(whole):
    before = listed(whole.parent)
    check_tracking(f"sqlite:///{whole}", given=True)
    assert listed(whole.parent) == before


def test_a_database_that_is_in_use_passes(whole, tmp_path):
    path = tmp_path / "mlflow.db"
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO filler VALUES (1)")  # not committed
        check_tracking(f"sqlite:///{path}", given=True)
    (tmp_path / "empty.db").touch()
    check_tracking(f"sqlite:///{tmp_path}/empty.db", given=True)  # MLflow will fill it


def test_the_revision_is_mlflows_own():
    assert revisions()[-1] == _get_latest_schema_revision()


def test_what_follows_the_path_in_an_address_is_no_part_of_it(whole):
    assert str(database_path("sqlite:////a b/[v2]/x#.db?timeout=60")) == "/a b/[v2]/x#.db"
    assert database_path("http://127.0.0.1") is None
    check_tracking(f"sqlite:///{whole}?timeout=60", given=True)


@pytest.mark.parametrize("name", ["what?", "a%41b"])
@pytest.mark.parametrize("words", [["ablations"], ["ablations", "--dry-run"], ["check"]])
def test_a_folder_that_no_address_can_say_is_refused_before_anything_is_made(
    name, words, tmp_path, monkeypatch, capsys
):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.setattr("orchestrator.preflight.inputs.data.read", None)  # so far it must not come
    assert main(words) == 2
    odd = "'?'" if "?" in name else "'%41'"
    said = f"error: --storage: MLflow cannot keep a database at {tmp_path}/{name}/runs/mlflow.db: no {odd} may be in"
    assert capsys.readouterr().err.startswith(said)
    assert not list((tmp_path / name).iterdir())


def test_no_hard_links_are_needed(tmp_path, monkeypatch):
    def link(made, path):
        raise PermissionError(1, "Operation not permitted")  # as FAT and many network filesystems say

    monkeypatch.setattr(os, "link", link)
    create_database(tmp_path / "mlflow.db")
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_experiment_by_name("Default")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("mlflow.db")]


def test_a_database_that_another_process_has_just_made_is_not_replaced(tmp_path, monkeypatch):
    from orchestrator.tracking import backend

    def link(made, path):
        path.write_text("theirs")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "made.db").touch()
    backend._name(tmp_path / "made.db", tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_text() == "theirs"


def test_a_store_that_mlflow_cannot_read_costs_a_report_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("results.trials.load_trials", lambda uri, name: 1 / 0)
    create_database(tmp_path / "mlflow.db")
    capsys.readouterr()  # what MLflow says meanwhile
    assert main(["report", "mine", "--storage", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: --tracking-uri: MLflow cannot read sqlite:///")
    with pytest.raises(UsageError):
        check_tracking("foo://x", given=True)
