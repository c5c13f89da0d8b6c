"""Images in .npz files: how they are split and brought to size, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables import data
from trainables.data import DataError, npz
from trainables.data.image_file import nearest
from trainables.sections import Data

DATA = Data(dataset="folder", image_size=8)


def _drawn(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def _blocks(count: int) -> np.ndarray:
    """Masks of the classes 0, 1 and 2 in bands, and a row of void."""
    masks = np.zeros((count, 12, 10), np.uint8)
    masks[:, 4:8], masks[:, 8:], masks[:, 0] = 1, 2, 255
    return masks


def _saved(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def _refusal(root: Path) -> str:
    """The one line that is said of the file."""
    with pytest.raises(DataError) as caught:
        data.about(DATA, root)
    head, line = str(caught.value).splitlines()
    assert head.startswith("the data in ") and head.endswith(" cannot be used:")
    return line.strip()


@pytest.mark.parametrize("name", ["images", "arr_0"])
@pytest.mark.parametrize(("shape", "channels"), [((12, 10), 1), ((12, 10, 1), 1), ((12, 10, 3), 3)])
def test_a_fifth_is_held_out_and_each_image_is_squashed_as_a_files_is(
    name: str, shape: tuple[int, ...], channels: int, tmp_path: Path
) -> None:
    images = _drawn(20, *shape)
    path = _saved(tmp_path / "mine.npz", **{name: images})
    about, found = data.about(DATA, path), data.arrays(DATA, path)
    assert (about.train_images, about.label_images, about.held_out_images) == (16, 0, 4)
    assert (about.class_names, about.image_channels) == ((), channels)
    expected = [
        np.asarray(Image.fromarray(image.squeeze()).resize((8, 8), Image.Resampling.BICUBIC)).reshape(8, 8, channels)
        for image in images
    ]
    there = [image.transpose(1, 2, 0).tobytes() for image in np.concatenate([found.train, found.held_out])]
    assert sorted(there) == sorted(image.tobytes() for image in expected)
    assert found.label_images.shape == (0, channels, 8, 8) and found.held_out_masks.shape == (0, 8, 8)


def test_images_of_the_size_that_is_asked_for_stay_as_they_are(tmp_path: Path) -> None:
    images = _drawn(10, 8, 8, 3)
    found = data.arrays(DATA, _saved(tmp_path / "a.npz", images=images))
    there = np.concatenate([found.train, found.held_out]).transpose(0, 2, 3, 1)
    assert {image.tobytes() for image in there} == {image.tobytes() for image in images}


def test_masks_make_a_label_pool_and_go_with_their_images(tmp_path: Path) -> None:
    images, masks = np.repeat(np.arange(20, dtype=np.uint8), 120).reshape(20, 12, 10), _blocks(20)
    masks[:, 11, 9] = np.arange(20) % 3
    path = _saved(tmp_path / "a.npz", images=images, masks=masks.astype(np.int64))
    examined, found = data.examine(DATA, path, images=True), data.arrays(DATA, path)
    about = examined.about
    assert (about.train_images, about.label_images, about.held_out_images) == (12, 4, 4)
    assert about.class_names == ("class 0", "class 1", "class 2")
    for split, split_masks in (
        (found.label_images, found.label_masks),
        (found.held_out, found.held_out_masks),
    ):
        for image, mask in zip(split, split_masks, strict=True):
            assert np.array_equal(mask, nearest(masks[image[0, 0, 0]], 8))
    numbers = [int(image[0, 0, 0]) for split in (found.train, found.label_images, found.held_out) for image in split]
    assert sorted(numbers) == list(range(20))
    held_out = [int(image[0, 0, 0]) for image in found.held_out]
    assert examined.survey is not None
    assert examined.survey.held_out_pixels == tuple(np.bincount(masks[held_out].ravel(), minlength=256))
    assert sum(examined.survey.label_pixels) == 4 * 120


def test_copies_of_an_image_are_in_one_split_whatever_their_order(tmp_path: Path) -> None:
    images = _drawn(10, 8, 8)
    once = data.arrays(DATA, _saved(tmp_path / "a.npz", images=images))
    twice = data.arrays(DATA, _saved(tmp_path / "b.npz", images=np.concatenate([images[::-1], images])))
    assert (len(twice.train), len(twice.held_out)) == (16, 4)
    assert {i.tobytes() for i in twice.held_out} == {i.tobytes() for i in once.held_out}


def test_the_split_is_fixed(tmp_path: Path) -> None:
    images = np.repeat(np.arange(10, dtype=np.uint8), 64).reshape(10, 8, 8)
    found = data.arrays(DATA, _saved(tmp_path / "a.npz", images=images))
    assert found.held_out[:, 0, 0, 0].tolist() == [2, 3]


def test_named_splits_are_kept_and_copies_in_both_are_told(tmp_path: Path) -> None:
    train, held_out = _drawn(5, 8, 8), _drawn(3, 8, 8, seed=1)
    held_out[1] = train[2]
    path = _saved(tmp_path / "a.npz", train=train, held_out=held_out)
    found = data.examine(DATA, path, images=True)
    assert found.arrays is not None and found.survey is not None
    assert np.array_equal(found.arrays.train[:, 0], train)
    assert np.array_equal(found.arrays.held_out[:, 0], held_out)
    (remark,) = found.survey.remarks
    assert remark.startswith("1 image is byte for byte in both 'train' and 'held_out'")


def test_files_in_a_folder_are_joined_by_their_names(tmp_path: Path) -> None:
    images = _drawn(10, 8, 8)
    whole = data.about(DATA, _saved(tmp_path / "whole.npz", images=images))
    _saved(tmp_path / "parts/b.npz", images=images[4:])
    _saved(tmp_path / "parts/a.NPZ.npz", images=images[:4])
    assert data.about(DATA, tmp_path / "parts") == whole
    assert data.about(DATA, tmp_path / "parts").train_images == 8


def test_neither_the_name_nor_the_packing_is_a_part_of_the_key(tmp_path: Path) -> None:
    images, masks = _drawn(20, 12, 10), _blocks(20)
    before = data.about(DATA, _saved(tmp_path / "a.npz", images=images, masks=masks))
    np.savez_compressed(tmp_path / "b.npz", images=images, masks=masks)
    assert data.about(DATA, tmp_path / "b.npz") == before
    masks[3, 5, 5] = 0
    others = data.about(DATA, _saved(tmp_path / "c.npz", images=images, masks=masks))
    assert others.fingerprint != before.fingerprint
    images[3, 5, 5] += 1
    assert data.about(DATA, _saved(tmp_path / "d.npz", images=images, masks=masks)).fingerprint != others.fingerprint


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.npz", images=_drawn(10, 8, 8), labels=np.arange(10))
    found = data.examine(DATA, path, images=False)
    assert found.survey is not None and found.survey.remarks == ("a.npz: labels is not read",)
    assert found.arrays is None


GREY = _drawn(6, 12, 10)
IMAGES_RULE = "images must be uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3)"
NAMES_RULE = "images must be called images or arr_0, or train and held_out"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": GREY / 255}, f"images is float64 of shape (6, 12, 10); {IMAGES_RULE}"),
        ({"images": GREY.astype(np.int32)}, f"images is int32 of shape (6, 12, 10); {IMAGES_RULE}"),
        ({"arr_0": _drawn(6, 3, 12, 10)}, f"arr_0 is uint8 of shape (6, 3, 12, 10); {IMAGES_RULE}"),
        ({"images": _drawn(6, 12, 10, 4)}, f"images is uint8 of shape (6, 12, 10, 4); {IMAGES_RULE}"),
        ({"images": GREY[0]}, f"images is uint8 of shape (12, 10); {IMAGES_RULE}"),
        ({"images": GREY[:0]}, f"images is uint8 of shape (0, 12, 10); {IMAGES_RULE}"),
        ({"images": np.array([GREY[0], None], object)}, "images cannot be read: Object arrays cannot be loaded"),
        ({"x_train": GREY, "x_test": GREY}, f"holds x_train, x_test: {NAMES_RULE}"),
        ({}, f"holds no array: {NAMES_RULE}"),
        ({"train": GREY}, f"holds train: {NAMES_RULE}"),
        ({"images": GREY, "train": GREY, "held_out": GREY}, f"holds images and train and held_out: {NAMES_RULE}"),
        ({"train": GREY, "held_out": GREY, "masks": GREY}, "holds masks beside train and held_out: masks go with"),
        ({"train": GREY, "held_out": _drawn(2, 8, 8)}, "train is of shape (6, 12, 10, 1), but held_out (2, 8, 8, 1)"),
        ({"images": GREY, "masks": GREY[:5]}, "masks is uint8 of shape (5, 12, 10); masks must be whole numbers of"),
        ({"images": GREY, "masks": GREY / 2}, "masks is float64 of shape (6, 12, 10); masks must be whole numbers of"),
        ({"images": GREY, "masks": GREY.astype(int) - 300}, "masks is int64 of shape (6, 12, 10), from -300 to"),
        ({"images": GREY, "masks": np.full_like(GREY, 255)}, "masks: no mask of the label pool holds a class"),
        ({"images": GREY[[0, 0, 0]]}, "holds 1 distinct images; 2 splits need at least 2"),
        ({"images": GREY[[0, 1, 0]], "masks": GREY[:3]}, "holds 2 distinct images; 3 splits need at least 3"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_are_one_line(arrays: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.npz", **arrays)
    assert _refusal(path).startswith(f"{path}: {said}")


def test_masks_that_were_interpolated_are_refused_as_files_are(tmp_path: Path) -> None:
    ramps = np.broadcast_to(np.arange(40, dtype=np.uint8), (6, 40, 40))
    path = _saved(tmp_path / "a.npz", images=_drawn(6, 40, 40), masks=ramps)
    with pytest.raises(DataError, match=r"masks\[\d\] holds 40 numbers, 40 of which .* fill no area"):
        data.examine(DATA, path, images=False)


def test_files_that_differ_are_not_joined(tmp_path: Path) -> None:
    _saved(tmp_path / "a.npz", images=GREY)
    other = _saved(tmp_path / "b.npz", images=_drawn(6, 12, 10, 3))
    said = "images is (N, 12, 10, 3), but (N, 12, 10, 1) in a.npz: files that are joined must be alike"
    assert _refusal(tmp_path) == f"{other}: {said}"
    _saved(other, train=GREY, held_out=GREY)
    assert "images is missing, but (N, 12, 10, 1) in a.npz" in _refusal(tmp_path)


@pytest.mark.parametrize("whole", [b"", b"no zip", "npy", "cut"])
def test_a_broken_file_is_one_line(whole: bytes | str, tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.npz", images=GREY)
    if whole == "npy":
        out = io.BytesIO()
        np.save(out, GREY)
        whole = out.getvalue()
    path.write_bytes(path.read_bytes()[:-30] if whole == "cut" else whole)
    assert _refusal(path) == f"{path}: is no .npz: numpy.savez writes one"


def test_a_flipped_bit_is_one_line(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.npz", images=_drawn(6, 40, 40))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert _refusal(path).startswith(f"{path}: images cannot be read: Bad CRC-32")


def test_a_member_that_is_no_array_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", b"cos\nsystem\n(S'true'\ntR.")
    assert _refusal(path).startswith(f"{path}: images ")


def test_images_beside_are_one_line_and_a_folder_of_images_goes_first(tmp_path: Path) -> None:
    _saved(tmp_path / "a.npz", images=GREY)
    (tmp_path / "deep").mkdir()
    Image.fromarray(GREY[0]).save(tmp_path / "deep/one.png")
    with pytest.raises(DataError, match=r": holds both a.npz and images \(deep/one.png\): which\?$"):
        data.about(DATA, tmp_path)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(GREY):
        Image.fromarray(image).save(tmp_path / f"images/{i}.png")
    found = data.examine(DATA, tmp_path, images=False)
    assert found.about.train_images == 5
    assert found.survey is not None
    assert found.survey.remarks[0].startswith("beside images, a.npz, deep is not read")


@pytest.mark.parametrize("name", ["VERSION", "SPLIT_SEED"])
def test_another_reading_is_another_dataset(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path / "a.npz", images=_drawn(20, 8, 8))
    before = data.about(DATA, path).fingerprint
    monkeypatch.setattr(npz, name, 7)
    assert data.about(DATA, path).fingerprint != before
