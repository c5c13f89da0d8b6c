"""The facts and arrays of listed files: gone through once, bad ones all named, every change told by the fingerprint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables import data
from trainables.data import DataError, reading
from trainables.data.listing import Listing, Pair
from trainables.sections import Data

ROOT = Path(__file__).parents[3]
DATA = Data(dataset="folder", image_size=8)


def _message(root: Path) -> str:
    """What `arrays` says of a folder that cannot be used."""
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    return str(caught.value)


def test_all_offenders_are_named_at_once(folder_tree: Any) -> None:
    """One of each kind: what is known by listing, by a file's head, and by decoding alone."""
    tree = folder_tree
    tree.text("train.txt", *"0123")
    tree.text("labels.txt", *"4563", "nowhere")
    tree.text("held_out.txt", *"789")
    tree.text("classes.yaml", "- one", "- two")
    jpeg = tree.image("images/1.jpg", size=(60, 40))
    jpeg.write_bytes(jpeg.read_bytes()[:-200])
    (tree.root / "images" / "1.png").unlink()
    tree.image("images/2.png", mode="RGBA")
    (tree.root / "masks" / "4.png").unlink()
    tree.mask("masks/5.png", size=(10, 12))
    tree.mask("masks/6.png", numbers=(0, 7, 9, 255))
    tree.image("masks/7.png")
    (tree.root / "masks" / "8.png").unlink()
    np.save(tree.path("masks/8.npy"), np.array([[{}]]), allow_pickle=True)
    problem, *lines = _message(tree.root).split("\n  ")
    assert problem == f"the folder data in {tree.root} cannot be used:"
    says = {
        "images/1.jpg: cannot be read: image file is truncated",
        "images/2.png: is 8-bit RGBA",
        "labels.txt: 3 is already in train.txt",
        "labels.txt: nowhere is no stem",
        "masks/4.png: is missing",
        "masks/5.png: is 10x12 pixels, but its image 12x10",
        "masks/6.png: holds the numbers [7, 9], but the classes are 0 to 1",
        "masks/7.png: is 8-bit RGB",
        "masks/8.npy: cannot be read as .npy",
    }
    assert {start for start in says for line in lines if line.startswith(str(tree.root / start))} == says
    assert len(lines) == len(says)


def test_a_dry_run_names_what_the_heads_show(folder_tree: Any) -> None:
    for i in range(10):
        (folder_tree.root / "masks" / f"{i}.png").unlink()
    with pytest.raises(DataError) as caught:
        data.about(DATA, folder_tree.root)
    assert str(caught.value).count("is missing") == 10


def test_classes_without_names_are_numbered_up_to_the_highest(folder_tree: Any) -> None:
    for i in range(10):
        folder_tree.mask(f"masks/{i}.png", numbers=(0, 2, 5, 255))
    assert data.about(DATA, folder_tree.root).class_names == tuple(f"class {k}" for k in range(6))


def test_masks_that_are_all_void_are_refused(folder_tree: Any) -> None:
    for i in range(10):
        folder_tree.mask(f"masks/{i}.png", numbers=(255,))
    with pytest.raises(DataError, match="no mask holds a class"):
        data.about(DATA, folder_tree.root)


def test_ignored_number_is_no_class(tree: Any) -> None:
    """Another number than 255 may be the one that is ignored; 255 is then a number without a class."""
    pair = Pair(tree.image("a.png"), tree.mask("a-mask.png", numbers=(0, 1)))
    listing = Listing("test", tree.root, [pair.image], [pair], [pair], ("zero", "one"), ignore_index=0)
    assert reading.about(listing).ignore_index == 0
    assert set(np.unique(reading.read(listing, DATA)[1].label_masks)) == {0, 1}
    tree.mask("a-mask.png", numbers=(0, 1, 255))
    with pytest.raises(DataError, match=r"holds the numbers \[255\]"):
        reading.read(listing, DATA)


@pytest.mark.parametrize("named", [True, False])
def test_reading_gives_the_facts_that_about_gives(named: bool, folder_tree: Any) -> None:
    if named:
        folder_tree.text("classes.yaml", "- a", "- b")
    facts = data.about(DATA, folder_tree.root)
    for _ in range(2):  # decoded, and then from the cache folder
        assert data.read(DATA, folder_tree.root)[0] == facts
        assert data.load(DATA, folder_tree.root).about == facts


# Fingerprint and cache


def _rename(tree: Any) -> None:
    for name in ("images/5.png", "masks/5.png"):
        tree.path(name).rename(tree.path(name).with_stem("x"))
    tree.text("labels.txt", *"4x6")


CHANGES: dict[str, Callable[[Any], Any]] = {
    "an image": lambda tree: tree.image("images/3.png", mode="L"),
    "a mask": lambda tree: tree.mask("masks/5.png", numbers=(1, 0)),
    "a name": _rename,
    "the classes": lambda tree: tree.text("classes.yaml", "- a", "- b"),
    "an image's split": lambda tree: (tree.text("train.txt", *"012"), tree.text("labels.txt", *"3456")),
    "the border of two splits": lambda t: (t.text("labels.txt", *"45"), t.text("held_out.txt", *"6789")),
    "two splits": lambda tree: (tree.text("labels.txt", *"789"), tree.text("held_out.txt", *"456")),
    "the order": lambda tree: tree.text("labels.txt", *"645"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_fingerprint_tells_what_changed(change: Callable[[Any], Any], folder_tree: Any) -> None:
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    before = data.about(DATA, folder_tree.root).fingerprint
    assert data.about(DATA, folder_tree.root).fingerprint == before
    change(folder_tree)
    assert data.about(DATA, folder_tree.root).fingerprint != before


def test_fingerprint_is_the_same_in_another_place(folder_tree: Any, tmp_path: Path) -> None:
    before = data.about(DATA, folder_tree.root)
    folder_tree.root.rename(tmp_path / "elsewhere")
    assert data.about(DATA, tmp_path / "elsewhere") == before


def test_neither_about_nor_read_needs_torch(folder_tree: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from trainables import data; from trainables.config import Data; "
        "settings = Data(dataset='folder', image_size=8), Path(sys.argv[1]); "
        "data.about(*settings); data.read(*settings); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder_tree.root)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
