"""Which files and classes a dataset is found to have, and that all that is wrong with them is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainables import data
from trainables.data import DataError
from trainables.data.listing import Offenders, shuffled
from trainables.sections import Data

DATA = Data(dataset="folder", image_size=8)
ORDER = list("gcabefhd")  # of "abcdefgh" under the seed 1


def _message(root: Path) -> str:
    """What `arrays` says of a folder that cannot be used."""
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    return str(caught.value)


def test_long_lists_of_offenders_are_cut(tree: Any) -> None:
    for i in range(30):
        tree.image(f"images/{i}.png", mode="RGBA")
        tree.mask(f"masks/{i}.png")
    lines = _message(tree.root).split("\n  ")
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "and 10 more"


def test_twenty_offenders_are_all_named() -> None:
    offenders = Offenders()
    for i in range(20):
        offenders.add(Path(f"{i}"), "is missing")
    with pytest.raises(DataError) as caught:
        offenders.refuse("cannot be used:")
    assert str(caught.value).splitlines()[1:] == [f"  {i}: is missing" for i in range(20)]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["- a", "- [b"], "cannot be read as YAML"),
        (["\x00"], "cannot be read as YAML"),
        ([""], "must be a list of class names, or a mapping"),
        (["text"], "must be a list of class names, or a mapping"),
        (["a: 0"], "must be a list of class names, or a mapping"),
        (["true: a"], "must be a list of class names, or a mapping"),
        (["[]"], "must name the classes 0, 1, ... without a gap"),
        (["0: a", "2: b"], "must name the classes 0, 1, ... without a gap, at most 255, but has [0, 2]"),
        (["1: a"], "must name the classes 0, 1, ... without a gap"),
        (["- yes", "- no"], "in quotes where YAML takes it for something else: True"),
        (["- 1", "- b"], "in quotes where YAML takes it for something else: 1"),
        (["- a", "- ''"], "a class name must be text"),
        (["- a", "- a"], "must not repeat a name"),
    ],
)
def test_class_file_that_says_no_classes_is_refused(lines: list[str], says: str, folder_tree: Any) -> None:
    path = folder_tree.text("classes.yaml", *lines)
    (line,) = _message(folder_tree.root).splitlines()[1:]
    assert line.startswith(f"  {path}: ")
    assert says in line


@pytest.mark.parametrize("lines", [["- sky", "- 'no'"], ["1: 'no'", "0: sky"], ["0: sky", "1: 'no'", "255: void"]])
def test_class_names_are_those_of_the_file(lines: list[str], folder_tree: Any) -> None:
    folder_tree.text("classes.yaml", *lines)
    assert data.about(DATA, folder_tree.root).class_names == ("sky", "no")


@pytest.mark.parametrize("name", ["classes.yml", "Classes.yaml", "CLASSES.YML"])
def test_class_file_may_have_the_other_suffix_and_capitals(name: str, folder_tree: Any) -> None:
    folder_tree.text(name, "- sky", "- road")
    assert data.about(DATA, folder_tree.root).class_names == ("sky", "road")
    folder_tree.text("classes.yaml", "- sky", "- road")
    if name != "classes.yaml":
        (line,) = _message(folder_tree.root).splitlines()[1:]
        assert line.startswith(f"  {folder_tree.root / name}: is a second list of classes, beside ")


def test_random_order_is_the_same_for_ever() -> None:
    assert shuffled("abcdefgh", 1) == ORDER
    assert shuffled("hgfedcba", 1) == shuffled("abcdefgh", 1) != shuffled("abcdefgh", 2)
