"""A folder of one's own: how it is split, and its channels."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables import data
from trainables.data import DataError
from trainables.sections import Data

DATA = Data(dataset="folder", image_size=8)


def _marked(tree: Any, count: int, suffix: str = "png") -> None:
    """Image i is grey of the value i, and so is its mask."""
    from PIL import Image

    for i in range(count):
        Image.fromarray(np.full((10, 12), i, np.uint8)).save(tree.path(f"images/{i:03}.{suffix}"))
        tree.mask(f"masks/{i:03}.png", numbers=(i,))


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (8, (4, 2, 2)), (10, (6, 2, 2)), (100, (60, 20, 20))]
)
def test_random_splits_are_disjoint_and_every_image_is_in_one(
    count: int, sizes: tuple[int, int, int], tree: Any
) -> None:
    _marked(tree, count)
    found, about = data.arrays(DATA, tree.root), data.about(DATA, tree.root)
    assert (about.train_images, about.label_images, about.held_out_images) == sizes
    splits = [split[:, 0, 0, 0].tolist() for split in (found.train, found.label_images, found.held_out)]
    assert tuple(map(len, splits)) == sizes
    assert sorted(splits[0] + splits[1] + splits[2]) == list(range(count))
    assert found.label_masks[:, 0, 0].tolist() == splits[1]  # each mask is its image's
    assert found.held_out_masks[:, 0, 0].tolist() == splits[2]


def test_random_splits_are_fixed(tree: Any) -> None:
    _marked(tree, 10)
    assert data.arrays(DATA, tree.root).held_out[:, 0, 0, 0].tolist() == [4, 2]


@pytest.mark.parametrize("given", [False, True], ids=["random splits", "split files"])
def test_an_accent_is_one_letter_however_it_is_written(given: bool, tree: Any) -> None:
    """macOS writes file names decomposed, editors and other systems composed."""
    _marked(tree, 10)
    for i in range(10):
        tree.path(f"images/{i:03}.png").rename(tree.path(f"images/Caf\u00e9 {i}.png"))
        tree.path(f"masks/{i:03}.png").rename(tree.path(f"masks/Caf\u00e9 {i}.png"))
    if given:
        for split, numbers in {"train": (5, 1), "labels": (3, 0), "held_out": (2,)}.items():
            tree.text(f"{split}.txt", *(f"Caf\u00e9 {i}" for i in numbers))
    before = data.arrays(DATA, tree.root)
    for i in range(10):
        tree.path(f"images/Caf\u00e9 {i}.png").rename(tree.path(f"images/Cafe\u0301 {i}.png"))
    found = data.arrays(DATA, tree.root)
    assert all(np.array_equal(a, b) for a, b in zip(vars(found).values(), vars(before).values(), strict=True))


def test_a_mask_whose_image_is_not_read_is_listed(tree: Any) -> None:
    _marked(tree, 10)
    tree.path("images/003.png").rename(tree.path("images/003.gif"))
    tree.path("images/005.png").unlink()
    message = _message(tree.root)
    assert "masks/003.png: has no image 003.{" in message
    assert "masks/005.png: has no image 005.{" in message


def test_split_files_go_before_the_random_ones(tree: Any) -> None:
    _marked(tree, 6)
    for split, stems in {"train": ["005", "001"], "labels": ["003", "000"], "held_out": ["002"]}.items():
        tree.text(f"{split}.txt", *stems)
    found = data.arrays(DATA, tree.root)
    splits = [split[:, 0, 0, 0].tolist() for split in (found.train, found.label_images, found.held_out)]
    assert splits == [[5, 1], [3, 0], [2]]
    assert found.label_masks[:, 0, 0].tolist() == [3, 0]


def test_one_split_file_is_not_enough(folder_tree: Any) -> None:
    folder_tree.text("train.txt", "0")
    lines = _message(folder_tree.root).splitlines()[1:]
    assert [line.split(": ")[0] for line in lines] == [
        f"  {folder_tree.root / name}.txt" for name in ("labels", "held_out")
    ]
    assert "must all be there, or none" in lines[0]


@pytest.mark.parametrize("part", ["train.txt", "labels.txt", "held_out.txt"])
def test_empty_split_is_refused(part: str, folder_tree: Any) -> None:
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    folder_tree.text(part, "")
    assert _message(folder_tree.root).splitlines()[1:] == [f"  {folder_tree.root / part}: names no image"]


def test_stem_in_two_splits_is_refused(folder_tree: Any) -> None:
    for split, stems in {"train": "0123", "labels": "456", "held_out": "7891"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    assert _message(folder_tree.root).splitlines()[1:] == [
        f"  {folder_tree.root}/held_out.txt: 1 is already in train.txt; an image is in one split, once"
    ]


def test_too_few_images_are_refused(tree: Any) -> None:
    _marked(tree, 2)
    assert "images: holds 2 images; three splits need at least 3" in _message(tree.root)


def test_no_image_is_refused(folder_tree: Any) -> None:
    for path in (folder_tree.root / "images").iterdir():
        path.rename(path.with_suffix(".tiff"))
    assert "images: holds 0 images" in _message(folder_tree.root)


def test_images_for_training_need_no_masks(folder_tree: Any) -> None:
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    before = data.arrays(DATA, folder_tree.root)
    for stem in "0123":
        (folder_tree.root / "masks" / f"{stem}.png").unlink()
    assert np.array_equal(data.arrays(DATA, folder_tree.root).train, before.train)
    (folder_tree.root / "masks" / "7.png").unlink()
    assert _message(folder_tree.root).splitlines()[1:] == [f"  {folder_tree.root}/masks/7.png: is missing"]


@pytest.mark.parametrize(("other", "channels"), [("L", 1), ("RGB", 3), ("P", 3)])
def test_images_are_grey_only_if_all_are(other: str, channels: int, tree: Any) -> None:
    _marked(tree, 10)
    tree.image("images/004.png", mode=other)
    assert data.about(DATA, tree.root).image_channels == channels
    found = data.arrays(DATA, tree.root)
    assert {images.shape[1] for images in (found.train, found.label_images, found.held_out)} == {channels}


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg", "JPEG"])
def test_images_may_have_several_formats(suffix: str, tree: Any) -> None:
    _marked(tree, 5, suffix)
    tree.path("images/.DS_Store").write_text("")
    tree.path("images/._000.png").write_text("")
    tree.path("images/notes.txt").write_text("")
    found = data.arrays(DATA, tree.root)
    values = [images[:, 0, 0, 0].tolist() for images in (found.train, found.label_images, found.held_out)]
    assert sorted(values[0] + values[1] + values[2]) == [0, 1, 2, 3, 4]


def test_masks_may_be_npy(folder_tree: Any) -> None:
    before = data.arrays(DATA, folder_tree.root)
    for i in range(10):
        (folder_tree.root / "masks" / f"{i}.png").unlink()
        folder_tree.mask(f"masks/{i}.npy")
    found = data.arrays(DATA, folder_tree.root)
    assert np.array_equal(found.held_out_masks, before.held_out_masks)
    assert data.about(DATA, folder_tree.root).class_names == ("class 0", "class 1")


def test_two_files_of_a_stem_are_one_too_many(folder_tree: Any) -> None:
    folder_tree.image("images/3.jpg")
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    folder_tree.mask("masks/5.npy")
    message = _message(folder_tree.root)
    assert "images/3.png: has the same stem as 3.jpg" in message
    assert "masks/5.npy: is a second mask, beside 5.png" in message


def test_split_files_without_masks_are_one_line(folder_tree: Any) -> None:
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    (folder_tree.root / "masks").rename(folder_tree.root / "labels")
    assert _message(folder_tree.root).splitlines()[1:] == [f"  {folder_tree.root / 'masks'}: is missing"]


def test_masks_of_another_name_are_no_images_and_their_folder_is_named(folder_tree: Any) -> None:
    (folder_tree.root / "masks").rename(folder_tree.root / "labels")
    found = data.examine(DATA, folder_tree.root, images=False)
    assert (found.about.class_names, found.about.train_images, found.about.held_out_images) == ((), 8, 2)
    assert found.survey and found.survey.remarks == (
        "beside images, labels is not read: masks are read from the folder masks",
    )


@pytest.mark.parametrize("name", ["Images", "MASKS"])
def test_a_folder_in_capitals_is_one_line(name: str, folder_tree: Any) -> None:
    shutil.rmtree(folder_tree.root / "masks")
    (folder_tree.root / "images").rename(folder_tree.root / name)
    assert _message(folder_tree.root) == f"{folder_tree.root / name}: must be called {name.lower()}, in small letters"


def test_masks_without_a_folder_of_images_are_one_line(folder_tree: Any) -> None:
    (folder_tree.root / "images").rename(folder_tree.root / "photos")
    line = f"  {folder_tree.root / 'images'}: is missing: images that have masks must be in it"
    assert _message(folder_tree.root).splitlines()[1:] == [line]


def test_root_may_be_the_folder_or_what_it_is_in(folder_tree: Any, tmp_path: Path) -> None:
    before = data.about(DATA, folder_tree.root)
    folder_tree.root.rename(tmp_path / "folder")
    assert data.about(DATA, tmp_path) == before


@pytest.mark.parametrize("call", [data.about, data.arrays, data.read, data.load])
def test_each_file_is_looked_at_and_hashed_once(call: Any, folder_tree: Any, looks: Any) -> None:
    call(DATA, folder_tree.root)
    images, masks = (list((folder_tree.root / part).iterdir()) for part in ("images", "masks"))
    assert looks.heads == dict.fromkeys([*images, *masks], 1)
    assert set(looks.hashed.values()) == {1}
    # The masks of the images that train the DDPM are no part of the dataset.
    assert Counter(path.parent.name for path in looks.hashed) == {"images": 10, "masks": 4}


def test_names_may_be_in_capitals(folder_tree: Any) -> None:
    root = folder_tree.root
    folder_tree.text("classes.yaml", "- a", "- b")
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    before = data.arrays(DATA, root)
    for name, other in {"train.txt": "Train.TXT", "classes.yaml": "Classes.YML"}.items():
        (root / name).rename(root / other)
    for i in range(10):
        (root / f"masks/{i}.png").rename(root / f"masks/{i}.PNG")
        (root / f"images/{i}.png").rename(root / f"images/{i}.PnG")
    found = data.arrays(DATA, root)
    assert all(np.array_equal(a, b) for a, b in zip(vars(found).values(), vars(before).values(), strict=True))
    assert data.about(DATA, root).class_names == ("a", "b")


def test_mask_in_capitals_without_an_image_is_listed(folder_tree: Any) -> None:
    (folder_tree.root / "masks/3.png").rename(folder_tree.root / "masks/x.PNG")
    message = _message(folder_tree.root)
    assert "masks/x.PNG: has no image x.{" in message
    assert "masks/3.png: is missing" in message


def test_second_mask_in_capitals_is_one_too_many(folder_tree: Any) -> None:
    folder_tree.mask("masks/3.npy")
    (folder_tree.root / "masks/3.npy").rename(folder_tree.root / "masks/3.NPY")
    assert _message(folder_tree.root).splitlines()[1:] == [
        f"  {folder_tree.root}/masks/3.NPY: is a second mask, beside 3.png"
    ]


@pytest.mark.parametrize("part", ["images", "masks"])
def test_name_that_is_no_utf_8_is_one_line(part: str, folder_tree: Any) -> None:
    """From an archive of another system, for example; it was a traceback."""
    folder = os.fsencode(folder_tree.root)
    shutil.copy(folder + f"/{part}/3.png".encode(), folder + f"/{part}/caf\xe9.png".encode("latin-1"))
    (line,) = _message(folder_tree.root).splitlines()[1:]
    assert line.encode()  # it can be printed
    says = {"images": "has a name that is no UTF-8; rename it", "masks": "has no image caf\\xe9.{"}
    assert line.startswith(f"  {folder_tree.root}/{part}/caf\\xe9.png: {says[part]}")
