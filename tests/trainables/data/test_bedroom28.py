"""The layout of ddpm-segmentation's Bedroom-28, on small trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import data
from trainables.data import DataError
from trainables.sections import Data

DATA = Data(dataset="bedroom28", image_size=8)
PLACES = ["", "bedroom_28", "datasets/bedroom_28"]


@pytest.fixture
def bedroom_tree(tree: Any) -> Any:
    """Four labelled images and two held out; label k holds the class k."""
    for i, split in enumerate(("train", "train", "train", "train", "test", "test")):
        tree.image(f"real/{split}/{9 - i}.{'jpg' if i % 2 else 'png'}", size=(16, 16))
        tree.mask(f"real/{split}/{9 - i}.npy", numbers=(i,), size=(16, 16))
    return tree


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    return str(caught.value)


def test_there_is_nothing_to_train_on(bedroom_tree: Any) -> None:
    found = data.load(DATA, bedroom_tree.root)
    assert found.train.shape == (0, 3, 8, 8)
    assert found.train.dtype == torch.uint8
    assert (found.about.train_images, found.about.label_images, found.about.held_out_images) == (0, 4, 2)


def test_splits_are_the_folders_sorted_by_name(bedroom_tree: Any) -> None:
    found = data.arrays(DATA, bedroom_tree.root)
    assert found.label_images.shape == (4, 3, 8, 8)
    assert found.held_out.shape == (2, 3, 8, 8)
    assert found.label_masks.min((1, 2)).tolist() == [3, 2, 1, 0]
    assert found.held_out_masks.min((1, 2)).tolist() == [5, 4]


def test_a_label_is_found_however_its_accent_is_written(bedroom_tree: Any) -> None:
    before = data.arrays(DATA, bedroom_tree.root)
    for path in (bedroom_tree.root / "real").rglob("*.*"):
        letter = "\u00e9" if path.suffix == ".npy" else "e\u0301"
        path.rename(path.with_name(f"{path.stem}{letter}{path.suffix}"))
    found = data.arrays(DATA, bedroom_tree.root)
    assert all(np.array_equal(a, b) for a, b in zip(vars(found).values(), vars(before).values(), strict=True))


def test_names_are_those_of_the_29_classes(bedroom_tree: Any) -> None:
    about = data.about(DATA, bedroom_tree.root)
    assert len(set(about.class_names)) == 29
    assert (about.class_names[0], about.class_names[1], about.class_names[28]) == ("background", "bed", "table staff")
    assert about.unscored_classes == (0,)


@pytest.mark.parametrize("place", PLACES)
def test_root_may_be_any_of_three(place: str, bedroom_tree: Any, tmp_path: Path) -> None:
    before = data.about(DATA, bedroom_tree.root)
    target = tmp_path / "root" / place
    target.parent.mkdir(parents=True, exist_ok=True)
    bedroom_tree.root.rename(target)
    assert data.about(DATA, tmp_path / "root") == before


def test_missing_data_names_the_three_places(tmp_path: Path) -> None:
    lines = _message(tmp_path).splitlines()[1:]
    assert [line.strip() for line in lines] == [
        str(tmp_path / "bedroom_28"), str(tmp_path), str(tmp_path / "datasets" / "bedroom_28")
    ]  # fmt: skip


def test_labels_are_cast_and_resized_by_nearest(bedroom_tree: Any) -> None:
    numbers = np.arange(16 * 16).reshape(16, 16) % 29
    np.save(bedroom_tree.path("real/test/4.npy"), numbers.astype(np.int64))
    found = data.arrays(DATA, bedroom_tree.root)
    assert np.array_equal(found.held_out_masks[0], numbers[1::2, 1::2])


def test_label_may_be_larger_than_its_image_if_both_are_square(bedroom_tree: Any) -> None:
    bedroom_tree.mask("real/train/8.npy", numbers=(7,), size=(32, 32))
    assert (data.arrays(DATA, bedroom_tree.root).label_masks == 7).any()


def test_all_offenders_are_named_at_once(bedroom_tree: Any) -> None:
    tree = bedroom_tree
    tree.image("real/train/6.jpg", size=(16, 12))
    tree.mask("real/train/7.npy", numbers=(29, 255), size=(16, 16))
    tree.mask("real/train/9.npy", numbers=(1,), size=(12, 16))
    tree.image("real/test/3.jpg", size=(16, 16))
    (tree.root / "real" / "test" / "5.npy").unlink()
    lines = [line.removeprefix(f"  {tree.root}/real/") for line in _message(tree.root).splitlines()[1:]]
    assert sorted(lines) == [
        "test/3.npy: is missing",
        "test/5.npy: is missing",
        "train/6.jpg: is 16x12 pixels; images must be square",
        "train/7.npy: holds the numbers [29, 255], but the classes are 0 to 28",
        "train/9.npy: is 12x16 pixels; masks must be square",
    ]


def test_missing_or_empty_split_is_refused(bedroom_tree: Any) -> None:
    (bedroom_tree.root / "real" / "test").rename(bedroom_tree.root / "real" / "other")
    assert "real/test: is missing" in _message(bedroom_tree.root)
    (bedroom_tree.root / "real" / "test").mkdir()
    assert "real/test: holds no image" in _message(bedroom_tree.root)


@pytest.mark.parametrize("call", [data.about, data.arrays, data.read, data.load])
def test_each_file_is_looked_at_and_hashed_once(call: Any, bedroom_tree: Any, looks: Any) -> None:
    call(DATA, bedroom_tree.root)
    files = [path for path in bedroom_tree.root.rglob("*") if path.is_file()]
    assert len(files) == 12
    assert looks.hashed == looks.heads == dict.fromkeys(files, 1)
