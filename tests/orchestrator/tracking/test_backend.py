"""A storage folder that people move: MLflow's records follow it."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from mlflow import MlflowClient

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.tracking.backend import create_database, follow_folder
from orchestrator.tracking.writer import MLflowWriter
from search_spaces.spaces import ABLATIONS

RESULT = {
    "metrics": {"miou": 0.5}, "artefacts": {}, "wall_time_s": {"ddpm": 1.0}, "gpu_s": 0, "machine": "", "made_with": "",
    "note": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tiny):
    return plan.build(Request(ABLATIONS, settings=tiny, chosen=["baseline"], name="mine"))


@pytest.fixture
def storage(study, tmp_path):
    """A storage folder with a finished trial and its picture, in a place with a blank in its name."""
    folder = tmp_path / "first place"
    folder.mkdir()
    (folder / "samples.png").write_bytes(b"picture")
    written(folder, study, finished=True)
    return folder


def written(folder, study, finished=False):
    writer = MLflowWriter(f"sqlite:///{folder}/mlflow.db", study, folder / "mlflow-artifacts")
    if finished:
        writer.start(study.trials[0])
        writer.finish(study.trials[0], RESULT, {"samples": folder / "samples.png"})
    writer.close()
    assert (writer.errors, writer.remarks) == ([], [])
    return writer.moved_from


def picture(folder, tmp_path):
    """The trial's picture, as MLflow gives it."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.artifact_uri.startswith(f"{(folder / 'mlflow-artifacts').as_uri()}/mine/")
    (tmp_path / "given").mkdir(exist_ok=True)
    with open(
        client.download_artifacts(run.info.run_id, "pictures/samples.png", str(tmp_path / "given")), "rb"
    ) as file:
        return file.read()


def test_a_group_that_shares_a_folder_may_write_to_its_database(tmp_path):
    before = os.umask(0o002)
    try:
        create_database(tmp_path / "mlflow.db")
    finally:
        os.umask(before)
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o777 == 0o664


def test_a_folder_that_stays_is_let_be(storage, study, tmp_path):
    assert written(storage, study) == ""
    assert picture(storage, tmp_path) == b"picture"


@pytest.mark.parametrize("copied", [False, True])
def test_the_records_follow_a_folder_that_is_moved_or_copied(copied, storage, study, tmp_path):
    other = tmp_path / "other"
    (shutil.copytree if copied else shutil.move)(storage, other)
    assert written(other, study) == (storage / "mlflow-artifacts").as_uri()
    assert picture(other, tmp_path) == b"picture"
    assert storage.exists() == copied  # nothing is made where it was
    assert written(other, study) == ""
    if copied:
        assert picture(storage, tmp_path) == b"picture"  # the original keeps its own


def test_others_records_are_let_be(storage, study, tmp_path):
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    client.create_experiment("foreign", (tmp_path / "elsewhere" / "mlflow-artifacts").as_uri() + "/foreign")
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "moved"
    shutil.move(storage, other)
    written(other, study)
    location = MlflowClient(f"sqlite:///{other}/mlflow.db").get_experiment_by_name("foreign").artifact_location
    assert location.startswith((tmp_path / "elsewhere").as_uri())


def test_a_database_of_its_own_place_keeps_its_addresses(study, tmp_path):
    create_database(tmp_path / "central.db")
    writer = MLflowWriter(f"sqlite:///{tmp_path}/central.db", study, tmp_path / "one" / "mlflow-artifacts")
    writer.close()
    assert follow_folder(tmp_path / "central.db", tmp_path / "other" / "mlflow-artifacts") == ""
    with closing(sqlite3.connect(tmp_path / "central.db")) as connection:
        found = connection.execute("SELECT artifact_location FROM experiments WHERE name = 'mine'").fetchone()
    assert found[0].startswith((tmp_path / "one").as_uri())
