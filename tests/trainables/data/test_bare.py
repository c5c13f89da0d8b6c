"""A folder of images without masks: which are taken, how they are split, and what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables import data
from trainables.data import DataError, Survey
from trainables.sections import Data

DATA = Data(dataset="folder", image_size=8)


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    return str(caught.value)


def _lines(root: Path) -> list[str]:
    return [line.strip() for line in _message(root).splitlines()[1:]]


def _survey(root: Path) -> Survey:
    found = data.examine(DATA, root, images=True).survey
    assert found is not None
    return found


def _held_out(root: Path) -> set[bytes]:
    return {image.tobytes() for image in data.arrays(DATA, root).held_out}


def _photos(tree: Any, count: int = 20) -> None:
    for i in range(count):
        tree.image(f"{('a', 'a/deep', 'b')[i % 3]}/photo {i}.{('jpg', 'PNG', 'webp')[i % 3]}")


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (3, 1), (7, 1), (8, 2), (20, 4), (100, 20)])
def test_a_fifth_at_any_depth_is_held_out_and_every_image_is_in_one_split(count: int, held_out: int, tree: Any) -> None:
    _photos(tree, count)
    about, found = data.about(DATA, tree.root), data.arrays(DATA, tree.root)
    assert (about.train_images, about.label_images, about.held_out_images) == (count - held_out, 0, held_out)
    assert (about.class_names, about.image_channels) == ((), 3)
    images = [image.tobytes() for split in (found.train, found.held_out) for image in split]
    assert len(set(images)) == count
    assert found.train.shape[1:] == found.held_out.shape[1:] == (3, 8, 8)
    assert found.label_images.shape == (0, 3, 8, 8)
    assert found.label_masks.shape == found.held_out_masks.shape == (0, 8, 8)


def test_the_split_is_fixed(tree: Any) -> None:
    for i in range(10):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tree.path(f"{i}.bmp"))
    assert data.arrays(DATA, tree.root).held_out[:, 0, 0, 0].tolist() == [0, 5]


def test_names_and_places_do_not_decide_the_split(tree: Any, tmp_path: Path) -> None:
    _photos(tree)
    other = tmp_path / "other"
    other.mkdir()
    files = sorted(path for path in tree.root.rglob("*") if path.is_file())
    for i, path in enumerate(reversed(files)):
        shutil.copy(path, other / f"{i}{path.suffix}")
    assert _held_out(other) == _held_out(tree.root)


def test_copies_of_an_image_are_in_one_split(tree: Any) -> None:
    _photos(tree, 10)
    held_out = _held_out(tree.root)
    for i, path in enumerate(sorted(path for path in tree.root.rglob("*") if path.is_file())):
        shutil.copy(path, tree.path(f"copies/{i}{path.suffix}"))
    found = data.arrays(DATA, tree.root)
    assert (len(found.train), len(found.held_out)) == (16, 4)
    assert _held_out(tree.root) == held_out
    assert not {image.tobytes() for image in found.train} & held_out
    assert _survey(tree.root).remarks == ()


def test_the_seed_is_no_part_of_the_data_and_another_split_would_be_another_key(
    tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.data import bare

    _photos(tree)
    before = data.about(DATA, tree.root)
    monkeypatch.setattr(bare, "SPLIT_SEED", 1)
    after = data.about(DATA, tree.root)
    assert (after.train_images, after.held_out_images) == (before.train_images, before.held_out_images)
    assert after.fingerprint != before.fingerprint


def test_folders_name_the_splits_where_both_are_there(tree: Any) -> None:
    train = [tree.image(f"train/deep/{i}.png") for i in range(3)]
    held_out = [tree.image(f"held_out/{i}.png") for i in range(5)]
    tree.image("more.png")
    tree.text("notes.txt", "mine")
    found = data.arrays(DATA, tree.root)
    assert (len(found.train), len(found.held_out)) == (len(train), len(held_out))
    assert _survey(tree.root).remarks == (
        "files that are not read, as they are no images of a kind that is: 1 .txt",
        "1 image is in neither train nor held_out, and not read",
    )


def test_a_copy_in_both_folders_is_named(tree: Any) -> None:
    for i in range(3):
        tree.image(f"train/{i}.png")
        tree.image(f"held_out/{i}.png")
    shutil.copy(tree.root / "train/1.png", tree.root / "held_out/again.png")
    (remark,) = _survey(tree.root).remarks
    assert remark.startswith("1 image is byte for byte in both 'train' and 'held out' (again.png is 1.png)")


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_one_of_the_two_folders_is_not_enough(part: str, tree: Any) -> None:
    _photos(tree)
    tree.image(f"{part}/1.png")
    (other,) = {"train", "held_out"} - {part}
    said = f"{tree.root / other}: is missing: the folders train and held_out must both be there, or neither"
    assert _lines(tree.root) == [said]


def test_an_empty_split_is_refused(tree: Any) -> None:
    tree.image("train/1.png")
    tree.path("held_out/notes.txt").write_text("")
    assert _lines(tree.root) == [f"{tree.root / 'held_out'}: holds no image"]


def test_too_few_distinct_images_are_refused(tree: Any) -> None:
    for copy in ("a", "b"):
        Image.new("L", (8, 8)).save(tree.path(f"{copy}.png"))
    assert _lines(tree.root) == [f"{tree.root}: holds 1 distinct images; two splits need at least 2"]


@pytest.mark.parametrize("kinds", [[], ["a.tiff", "b.gif", "c.gif", "d"]])
def test_a_folder_without_images_is_told_with_the_places_and_what_it_holds(kinds: list[str], tree: Any) -> None:
    for name in kinds:
        tree.text(f"deep/{name}", "of another kind")
    message = _message(tree.root)
    assert message.startswith("there are no images: expected the folder images, or images at any depth, in one of")
    held = ["files that are not read, as they are no images of a kind that is: 1 without a suffix, 2 .gif, 1 .tiff"]
    assert _lines(tree.root) == [str(tree.root / "folder"), str(tree.root), *(held if kinds else [])]


def test_all_that_cannot_be_read_is_listed_at_once(tree: Any) -> None:
    _photos(tree)
    tree.path("a/cut.jpg").write_bytes((tree.root / "a/photo 0.jpg").read_bytes()[:200])
    tree.path("b/text.png").write_text("no image")
    tree.image("b/glass.png", mode="RGBA")
    os.symlink(tree.root / "gone.png", tree.root / "b/link.png")
    lines = sorted(_lines(tree.root))
    names = ["cut.jpg", "glass.png", "link.png", "text.png"]
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines] == names
    assert "cannot be read: No such file" in lines[2]
    assert "images must be 8-bit grey" in lines[1]


def test_a_name_that_is_no_utf_8_is_one_line(tree: Any) -> None:
    _photos(tree)
    folder = os.fsencode(tree.root)
    shutil.copy(tree.root / "a/photo 0.jpg", folder + b"/a/caf\xe9.jpg")
    assert _lines(tree.root) == [f"{tree.root}/a/caf\\xe9.jpg: has a name that is no UTF-8; rename it"]


def test_hidden_files_are_not_there_and_links_are_followed_once(tree: Any, tmp_path: Path) -> None:
    _photos(tree)
    before = data.about(DATA, tree.root)
    tree.path("a/._photo 0.jpg").write_text("of a Mac")
    tree.image(".thumbnails/1.png")
    os.symlink(tree.root, tree.root / "a/loop")
    assert data.about(DATA, tree.root) == before
    tree.root.rename(tmp_path / "elsewhere")
    tree.root.mkdir()
    os.symlink(tmp_path / "elsewhere", tree.root / "linked")
    assert _held_out(tree.root) == _held_out(tmp_path / "elsewhere")


def test_only_images_is_read_where_it_is_there(tree: Any) -> None:
    for i in range(10):
        tree.image(f"images/deep/{i}.png", mode="L")
    tree.image("cover.png")
    about = data.about(DATA, tree.root)
    assert (about.train_images, about.held_out_images, about.image_channels) == (8, 2, 1)
    assert _survey(tree.root).remarks == ("beside images, cover.png is not read: masks are read from the folder masks",)


def test_an_image_is_turned_as_exif_says(tree: Any, cases: Path) -> None:
    _photos(tree)
    shutil.copy(cases / "exif/orientation_6.jpg", tree.path("a/turned.jpg"))
    (remark,) = _survey(tree.root).remarks
    assert remark.startswith("1 file is turned as EXIF's orientation says (turned.jpg)")


@pytest.mark.parametrize("call", [data.about, data.arrays, data.read, data.load])
def test_each_file_is_looked_at_and_hashed_once(call: Any, tree: Any, looks: Any) -> None:
    _photos(tree)
    call(DATA, tree.root)
    files = [path for path in tree.root.rglob("*") if path.is_file()]
    assert looks.hashed == looks.heads == dict.fromkeys(files, 1)


def test_nothing_tells_what_neither_it_nor_its_splits_hold(tree: Any) -> None:
    _photos(tree)
    before = data.about(DATA, tree.root).fingerprint
    tree.text("a/notes.txt", "mine")
    assert data.about(DATA, tree.root).fingerprint == before
    tree.image("a/one more.png")
    assert data.about(DATA, tree.root).fingerprint != before
