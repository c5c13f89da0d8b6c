"""`new`: the folder that it writes holds together, and nothing that is there is touched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import UsageError
from orchestrator.new.folder import make
from orchestrator.planning.study_file import FIELDS, StudyFile, schema
from orchestrator.run import main


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """A new folder, and what the command said."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", "relu-study"]) == 0
    return tmp_path / "relu-study", capsys.readouterr().out


def test_it_names_its_files_and_what_to_type_next(folder):
    path, said = folder
    *files, following = said.splitlines()
    assert sorted(files) == sorted(f"relu-study/{file.name}" for file in path.iterdir())
    assert {file.name for file in path.iterdir()} == {
        "README.md", "my_block.py", "study.schema.json", "study.yaml", "test_my_block.py"
    }  # fmt: skip
    assert following.startswith("next: cd relu-study && python -m orchestrator.run ablations study.yaml")


def test_its_study_is_a_study_file_that_names_a_class_that_is_there(folder):
    path, _ = folder
    content = yaml.safe_load((path / "study.yaml").read_text())
    assert set(content) <= set(StudyFile.model_fields)
    assert content["name"] == "relu-study"
    ((name, delta),) = content["variants"].items()
    assert name == "relu" and set(delta) <= set(FIELDS)
    file, _, block = delta["unet.block"].partition(":")
    assert re.search(rf"^class {block}\(", (path / file).read_text(), re.MULTILINE)


def test_its_schema_is_todays(folder):
    path, _ = folder
    assert yaml.safe_load((path / "study.schema.json").read_text()) == schema()
    first = (path / "study.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=study.schema.json"


def test_the_test_in_it_passes(folder, root):
    path, _ = folder
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=path, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_its_readme_is_short(folder):
    path, _ = folder
    lines = (path / "README.md").read_text().splitlines()
    assert lines[0] == "# relu-study"
    assert len(lines) <= 10


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "-x", "x" * 81, "a b", "."])
def test_a_name_that_cannot_be_one_makes_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "--", name]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("error: NAME: must be at most 80 letters")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_is_there_stays_as_it_is(there, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine"
    if there == "folder":
        path.mkdir()
        (path / "study.yaml").write_text("mine")
    else:
        path.write_text("mine")
    assert main(["new", "mine"]) == 2
    assert "mine is there already; choose another name" in capsys.readouterr().err
    assert [f.read_text() for f in (path.iterdir() if there == "folder" else [path])] == ["mine"]


def test_a_folder_that_could_not_be_filled_is_not_left_behind(tmp_path, monkeypatch):
    def full(self, *words, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match=r"cannot write to .*mine .No space left on device"):
        make("mine", tmp_path)
    assert not list(tmp_path.iterdir())
