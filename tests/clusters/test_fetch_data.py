"""What all nodes share comes to a node's own disk once."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "clusters" / "fetch_data.py"


def fetch(*words):
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def shared(tmp_path):
    for name, text in {"cache/mnist/images": "12345", "data/a/b/c.png": "1", "store/ddpm/x": "much"}.items():
        path = tmp_path / "shared" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path / "shared"


def files(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_cache_and_data_are_copied_and_nothing_else(shared, tmp_path):
    answer = fetch(shared, tmp_path / "own")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert files(tmp_path / "own") == {"cache/mnist/images": "12345", "data/a/b/c.png": "1"}


def test_what_is_there_stays_and_half_a_file_is_copied_again(shared, tmp_path):
    fetch(shared, tmp_path / "own")
    (tmp_path / "own" / "cache" / "mnist" / "images").write_text("123")
    (tmp_path / "own" / "data" / "mine").write_text("mine")
    answer = fetch(shared, tmp_path / "own")
    assert "/cache: 1 files, 1 copied\n" in answer.stdout
    assert "/data: 1 files, 0 copied\n" in answer.stdout
    assert files(tmp_path / "own") == {"cache/mnist/images": "12345", "data/a/b/c.png": "1", "data/mine": "mine"}


@pytest.mark.parametrize("where", ["not-there", "nowhere://bucket"])
def test_a_place_that_is_not_there_is_told_in_one_line(tmp_path, where):
    place = where if "://" in where else str(tmp_path / where)
    answer = fetch(place, tmp_path / "own")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith(f"fetch_data.py: {place}: ")
    assert answer.stderr.count("\n") == 1
