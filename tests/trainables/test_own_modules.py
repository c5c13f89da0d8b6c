"""Modules of a person's own in one process: what has changed since its import is imported again, and nothing else."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from trainables import own_modules
from trainables.own_parts import PartError, load
from trainables.own_places import take

FILES = {
    "parts/a.py": "from layers import two\ndef b(): return two()",
    "layers.py": "from deep.inner import NUMBER\ndef two(): return NUMBER",
    "deep/__init__.py": "",
    "deep/inner.py": "NUMBER = 2",
    "aside.py": "THINGS = []",
}


@pytest.fixture
def own(own_folder: Path) -> Path:
    for name, text in FILES.items():
        (own_folder / name).parent.mkdir(exist_ok=True)
        (own_folder / name).write_text(text)
        os.utime(own_folder / name, (0, 0))  # long before this process
    sys.path.append(str(own_folder))
    return own_folder


@pytest.mark.parametrize("part", ["parts/a.py:b", "layers:two"])
def test_an_edit_of_what_a_part_imports_is_seen_in_the_same_process(own: Path, part: str) -> None:
    aside = importlib.import_module("aside")
    assert load(part)() == 2
    (own / "deep/inner.py").write_text("NUMBER = 3")
    assert load(part)() == 3
    assert importlib.import_module("aside") is aside


def test_what_nobody_has_edited_stays_the_module_that_it_was(own: Path) -> None:
    assert load("layers:two") is load("layers:two")
    assert load("parts/a.py:b") is load("parts/a.py:b")
    assert sys.modules["layers"].two is load("layers:two")


def test_an_edit_between_a_persons_own_import_and_the_first_part_is_seen(own: Path) -> None:
    importlib.import_module("layers")
    (own / "deep/inner.py").write_text("NUMBER = 4")
    assert load("layers:two")() == 4


def test_a_file_that_cannot_be_imported_is_tried_again_once_it_is_mended(own: Path) -> None:
    assert load("layers:two")() == 2
    (own / "deep/inner.py").write_text("NUMBER = 1 / 0")
    with pytest.raises(PartError, match=r"^layers: cannot be imported: ZeroDivisionError: .*\(inner\.py, line 1\)$"):
        load("layers:two")
    (own / "deep/inner.py").write_text("NUMBER = 5")
    assert load("layers:two")() == 5


def test_texts_that_were_sent_again_are_those_that_count(own: Path) -> None:
    for number in (1, 2, 1):
        take({"sent.py": "from sent_too import f", "sent_too.py": f"def f(): return {number}"})
        assert load("sent.py:f")() == load("sent_too:f")() == number


def test_it_remembers_no_module_that_is_gone(own: Path) -> None:
    load("layers:two")
    assert "layers" in own_modules._known
    (own / "layers.py").unlink()
    with pytest.raises(PartError, match="layers: cannot be imported: ModuleNotFoundError"):
        load("layers:two")
    assert "layers" not in own_modules._known
