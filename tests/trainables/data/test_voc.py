"""The layout of PASCAL VOC: on small trees, and on the real photographs of CamVid."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import data
from trainables.data import DataError, voc
from trainables.sections import Data

DATA = Data(dataset="voc", image_size=8)
BASE = "VOCdevkit/VOC2012"
SETS = f"{BASE}/ImageSets/Segmentation"


@pytest.fixture
def voc_tree(tree: Any) -> Any:
    """Four images in train.txt, without masks, five in val.txt."""
    names = [f"2007_00000{i}" for i in range(9)]
    for i, name in enumerate(names):
        tree.image(f"{BASE}/JPEGImages/{name}.jpg", size=(12 + i, 10))
        if i > 3:
            tree.mask(f"{BASE}/SegmentationClass/{name}.png", numbers=(0, i, 20, 255), size=(12 + i, 10))
    tree.text(f"{SETS}/train.txt", *names[:4])
    tree.text(f"{SETS}/val.txt", *names[4:])
    return tree


def _add_test(tree: Any, masks: int) -> None:
    names = [f"2008_00000{i}" for i in range(3)]
    for i, name in enumerate(names):
        tree.image(f"{BASE}/JPEGImages/{name}.jpg")
        if i < masks:
            tree.mask(f"{BASE}/SegmentationClass/{name}.png", numbers=(10 + i,))
    tree.text(f"{SETS}/test.txt", *names)


def _numbers(masks: np.ndarray) -> list[set[int]]:
    return [set(np.unique(mask)) - {0, 20, 255} for mask in masks]


def _message(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    return str(caught.value)


def test_val_is_split_in_half_where_there_is_no_test_set(voc_tree: Any) -> None:
    found, about = data.arrays(DATA, voc_tree.root), data.about(DATA, voc_tree.root)
    assert found.train.shape == (4, 3, 8, 8)
    assert found.label_images.shape == (2, 3, 8, 8)
    assert found.held_out.shape == (3, 3, 8, 8)
    assert (about.train_images, about.label_images, about.held_out_images) == (4, 2, 3)
    assert _numbers(found.label_masks) == [{8}, {4}]  # fixed
    assert _numbers(found.held_out_masks) == [{6}, {5}, {7}]


def test_half_does_not_depend_on_the_order_of_the_file(voc_tree: Any) -> None:
    before = data.about(DATA, voc_tree.root)
    path = voc_tree.path(f"{SETS}/val.txt")
    voc_tree.text(f"{SETS}/val.txt", *reversed(path.read_text().split()))
    assert data.about(DATA, voc_tree.root) == before


def test_test_set_with_masks_is_held_out(voc_tree: Any) -> None:
    _add_test(voc_tree, masks=3)
    found = data.arrays(DATA, voc_tree.root)
    assert _numbers(found.label_masks) == [{4}, {5}, {6}, {7}, {8}]
    assert _numbers(found.held_out_masks) == [{10}, {11}, {12}]


def test_test_set_without_masks_is_left_alone(voc_tree: Any) -> None:
    before = data.about(DATA, voc_tree.root)
    _add_test(voc_tree, masks=0)
    assert data.about(DATA, voc_tree.root) == before


@pytest.mark.parametrize("part", ["train.txt", "val.txt"])
def test_an_image_of_another_split_is_not_held_out(part: str, voc_tree: Any) -> None:
    _add_test(voc_tree, masks=3)
    taken = voc_tree.path(f"{SETS}/{part}").read_text().split()[-1]
    voc_tree.mask(f"{BASE}/SegmentationClass/{taken}.png")
    voc_tree.text(f"{SETS}/test.txt", "2008_000000", taken)
    assert f"test.txt: {taken} is already in {part}" in _message(voc_tree.root)


def test_test_set_with_some_masks_lacks_the_others(voc_tree: Any) -> None:
    _add_test(voc_tree, masks=2)
    (line,) = _message(voc_tree.root).splitlines()[1:]
    assert line.strip() == f"{voc_tree.root}/{BASE}/SegmentationClass/2008_000002.png: is missing"


def test_suffixes_may_be_in_capitals(voc_tree: Any) -> None:
    before = data.arrays(DATA, voc_tree.root)
    for path in [*(voc_tree.root / BASE).rglob("*.jpg"), *(voc_tree.root / BASE).rglob("*.png")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    found = data.arrays(DATA, voc_tree.root)
    assert all(np.array_equal(a, b) for a, b in zip(vars(found).values(), vars(before).values(), strict=True))


def test_a_file_is_found_however_its_accent_is_written(voc_tree: Any) -> None:
    before = data.arrays(DATA, voc_tree.root)
    base = voc_tree.root / BASE
    for path in [*base.rglob("*.jpg"), *base.rglob("*.png")]:
        path.rename(path.with_name(f"{path.stem}e\u0301{path.suffix}"))
    for path in base.rglob("*.txt"):
        path.write_text("".join(f"{name}\u00e9\n" for name in path.read_text().split()), encoding="utf-8")
    found = data.arrays(DATA, voc_tree.root)
    assert found.train.shape == before.train.shape


def test_pascals_names_go_with_pascals_file_names(voc_tree: Any) -> None:
    names = data.about(DATA, voc_tree.root).class_names
    assert len(names) == 21
    assert (names[0], names[15], names[20]) == ("background", "person", "tvmonitor")
    voc_tree.image(f"{BASE}/JPEGImages/street.jpg")
    voc_tree.text(f"{SETS}/train.txt", "street")
    assert data.about(DATA, voc_tree.root).class_names == tuple(f"class {k}" for k in range(21))


@pytest.mark.parametrize("place", ["classes.yaml", f"{BASE}/classes.yaml"])
def test_names_of_ones_own_go_before_pascals(place: str, voc_tree: Any) -> None:
    voc_tree.text(place, *(f"- name {k}" for k in range(25)))
    assert data.about(DATA, voc_tree.root).class_names == tuple(f"name {k}" for k in range(25))


def test_two_lists_of_names_are_one_too_many(voc_tree: Any) -> None:
    voc_tree.text("classes.yaml", *(f"- name {k}" for k in range(25)))
    voc_tree.text(f"{BASE}/classes.yaml", *(f"- name {k}" for k in range(25)))
    assert f"{BASE}/classes.yaml: is a second list of classes" in _message(voc_tree.root)


def test_number_that_is_no_class_is_refused(voc_tree: Any) -> None:
    path = voc_tree.mask(f"{BASE}/SegmentationClass/2007_000005.png", numbers=(0, 21), size=(17, 10))
    assert f"{path}: holds the numbers [21], but the classes are 0 to 20" in _message(voc_tree.root)


def test_missing_folders_and_split_files_are_all_named(tree: Any) -> None:
    tree.text(f"{SETS}/val.txt", "a")
    lines = _message(tree.root).splitlines()[1:]
    assert lines == [
        f"  {tree.root / BASE / part}: is missing"
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation/train.txt")
    ]


def test_bad_splits_are_named(voc_tree: Any) -> None:
    voc_tree.text(f"{SETS}/train.txt", "2007_000001", "2007_000001", "2007_000009")
    voc_tree.text(f"{SETS}/val.txt", "2007_000001", "2007_000004")
    message = _message(voc_tree.root)
    assert "train.txt: 2007_000001 is already in train.txt" in message
    assert "val.txt: 2007_000001 is already in train.txt" in message
    assert "JPEGImages/2007_000009.jpg: is missing" in message
    assert "SegmentationClass/2007_000001.png: is missing" in message


@pytest.mark.parametrize("part", ["train.txt", "val.txt"])
def test_empty_split_is_refused(part: str, voc_tree: Any) -> None:
    voc_tree.text(f"{SETS}/{part}", "", "  ")
    assert f"{part}: names no image" in _message(voc_tree.root)


def test_val_of_one_image_cannot_be_halved(voc_tree: Any) -> None:
    voc_tree.text(f"{SETS}/val.txt", "2007_000005")
    assert "val.txt: names one image; at least 2" in _message(voc_tree.root)


@pytest.mark.parametrize("call", [data.about, data.arrays, data.read, data.load])
def test_each_file_is_looked_at_and_hashed_once(call: Any, voc_tree: Any, looks: Any) -> None:
    call(DATA, voc_tree.root)
    images = list((voc_tree.root / BASE / "JPEGImages").iterdir())
    masks = list((voc_tree.root / BASE / "SegmentationClass").iterdir())
    assert (len(images), len(masks)) == (9, 5)
    assert looks.hashed == looks.heads == dict.fromkeys([*images, *masks], 1)


# CamVid


@pytest.fixture(scope="module")
def camvid(real_data: Path) -> Path:
    if not (real_data / "camvid").is_dir():
        pytest.skip(f"no CamVid at {real_data}")
    return real_data / "camvid"


@pytest.fixture(scope="module")
def streets(camvid: Path) -> data.Dataset:
    return data.load(Data(dataset="voc", image_size=32), camvid)


def test_camvid_has_its_counts_and_classes(streets: data.Dataset) -> None:
    about = streets.about
    assert (about.train_images, about.label_images, about.held_out_images) == (367, 101, 233)
    assert about.class_names == tuple(f"class {k}" for k in range(11))
    assert about.image_channels == 3
    assert streets.train.shape == (367, 3, 32, 32)
    assert streets.label_images.shape == (101, 3, 32, 32)
    assert streets.held_out_masks.shape == (233, 32, 32)


def test_camvids_splits_are_disjoint(streets: data.Dataset) -> None:
    splits = streets.train, streets.label_images, streets.held_out
    images = [image.numpy().tobytes() for split in splits for image in split]
    assert len(set(images)) == 701


def test_camvids_masks_hold_all_classes_and_void(streets: data.Dataset) -> None:
    for masks in (streets.label_masks, streets.held_out_masks):
        assert masks.unique().tolist() == [*range(11), 255]
        counts = torch.bincount(masks.flatten().long(), minlength=256) / masks.numel()
        assert 0.001 < counts[255] < 0.2
    top, bottom = streets.held_out_masks[:, :8], streets.held_out_masks[:, -8:]
    assert (top == 0).float().mean() > 0.2 > (bottom == 0).float().mean()  # the sky is up
    assert (bottom == 3).float().mean() > 0.5 > (top == 3).float().mean()  # the road is down


def test_camvids_sky_is_bright(streets: data.Dataset) -> None:
    grey = streets.held_out.float().mean(1)
    sky, others = streets.held_out_masks == 0, streets.held_out_masks != 0
    assert grey[sky].mean() > 1.5 * grey[others].mean()


def test_camvid_is_read_as_torchvision_reads_it(camvid: Path, streets: data.Dataset) -> None:
    from torchvision.datasets import VOCSegmentation

    _, target = VOCSegmentation(str(camvid), year="2012", image_set="val")[0]
    centres = ((np.arange(32) + 0.5) * np.array([[120], [160]]) / 32).astype(int)
    assert np.array_equal(streets.label_masks[0].numpy(), np.array(target)[np.ix_(*centres)])


# Downloads: torchvision's own code, with the network replaced.


def _tar(tree: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.add(tree.root / "VOCdevkit", "VOCdevkit")
    return buffer.getvalue()


class Response(io.BytesIO):
    url = None

    @property
    def length(self) -> int:
        return len(self.getvalue())


def test_download_is_torchvisions(voc_tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import voc as torchvision_voc

    voc_tree.text(f"{SETS}/trainval.txt", "2007_000001")
    content = _tar(voc_tree)
    monkeypatch.setitem(torchvision_voc.DATASET_YEAR_DICT["2012"], "md5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response(content))
    before = data.about(DATA, voc_tree.root)
    voc.download(tmp_path / "new")
    assert data.about(DATA, tmp_path / "new") == before
    assert [path.name for path in (tmp_path / "new" / "voc").iterdir()] == ["VOCdevkit"]


def test_a_download_that_is_cut_leaves_nothing(voc_tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response(_tar(voc_tree)[:4000]))
    with pytest.raises(DataError) as caught:
        voc.download(tmp_path / "new")
    for part in (voc.SOURCE, "--data-root", "ABLATION_DATA", str(tmp_path / "new" / "voc" / BASE)):
        assert part in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []
