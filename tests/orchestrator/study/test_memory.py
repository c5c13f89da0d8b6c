"""What Optuna keeps of a search: a database that cannot be used is told before anything is made."""

import os
import sqlite3
from contextlib import closing

import optuna
import pytest

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.run import main
from orchestrator.storage.locations import Locations
from orchestrator.study.memory import check_memory, opened_memory
from search_spaces.spaces import SEGMENTATION
from search_spaces.tuning import SPACES

WORDS = ["search", "--space", "segmentation", "--trials", "1", "--name", "mine"]
VALIDATED = {"segmentation.validation_images": 4}


def search_of(folder):
    request = Request(SEGMENTATION, name="mine", settings=VALIDATED, seeds=[0])
    study = plan.search(request, plan.build(request).about, objective="validation_miou")
    return study, Locations(folder, f"sqlite:///{folder}/mlflow.db", str(folder / "store"))


@pytest.fixture
def database(tmp_path):
    """The database of a search that has begun."""
    study, locations = search_of(tmp_path)
    path = tmp_path / "studies" / "mine" / "optuna.db"
    path.parent.mkdir(parents=True)
    opened_memory(study, SPACES["segmentation"](study.baseline), locations)
    return path


def test_a_group_that_shares_a_folder_may_write_to_its_searches(tmp_path, request):
    before = os.umask(0o002)
    try:
        database = request.getfixturevalue("database")
    finally:
        os.umask(before)
    assert database.stat().st_mode & 0o777 == 0o664


def of_another_optuna(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE version_info SET schema_version = 99")
        connection.execute("UPDATE alembic_version SET version_num = 'v99.a'")
        connection.commit()


@pytest.mark.parametrize("spoil", [of_another_optuna, lambda path: path.write_text("no database " * 1000)])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_database_that_cannot_be_used_is_refused_before_anything_is_made(spoil, more, database, tmp_path, capsys):
    spoil(database)
    before = database.read_bytes()
    assert main([*WORDS, "--storage", str(tmp_path), "--set", "segmentation.validation_images=4", *more]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"error: --storage: Optuna cannot use {database} (")
    assert database.read_bytes() == before
    assert not (tmp_path / "mlflow.db").exists()


def test_a_search_of_before_passes_and_is_not_written_to(database, tmp_path):
    before = database.read_bytes()
    check_memory(*search_of(tmp_path))
    assert database.read_bytes() == before


@pytest.mark.parametrize("name", ["[v2]", "a%41b", "what?", "a b#", "{a}"])
def test_every_folder_may_hold_it(name, tmp_path):
    study, locations = search_of(tmp_path / name)
    locations.study("mine").mkdir(parents=True)
    memory = opened_memory(study, SPACES["segmentation"](study.baseline), locations)
    assert optuna.get_all_study_names(memory._storage) == [memory.study_name]
    assert [path.name for path in locations.study("mine").iterdir()] == ["optuna.db"]
    check_memory(study, locations)
