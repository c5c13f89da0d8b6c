"""MNIST against torchvision's reader and torch's resize, and what is said of files that are not MNIST's."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainables import data
from trainables.data import Arrays, DataError, mnist
from trainables.sections import Data

ROOT = Path(__file__).parents[3]
HELD_OUT_DIGITS = [9, 4, 9, 3, 4, 3, 9, 5, 7, 3, 4, 7]  # the first of them, whatever the machine


def _data(image_size: int) -> Data:
    return Data(dataset="mnist", image_size=image_size)


@pytest.fixture(scope="module")
def original(real_data: Path) -> Arrays:
    """At the files' own size."""
    if not (real_data / "mnist").is_dir():
        pytest.skip(f"no MNIST at {real_data}")
    return data.arrays(_data(28), real_data)


def _torchvision(real_data: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import MNIST

    found = MNIST(str(real_data / "mnist"), train=train)
    return found.data.numpy(), found.targets.numpy()


def test_shapes_are_those_that_about_promises(original: Arrays) -> None:
    about = data.about(_data(28))
    assert (about.train_images, about.label_images, about.held_out_images) == (60_000, 1_000, 9_000)
    assert (about.image_channels, about.ignore_index, about.unscored_classes) == (1, 255, ())
    assert about.class_names == ("background", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert original.train.shape == (60_000, 1, 28, 28)
    for images, masks, count in (
        (original.label_images, original.label_masks, 1_000),
        (original.held_out, original.held_out_masks, 9_000),
    ):
        assert images.shape == (count, 1, 28, 28)
        assert masks.shape == (count, 28, 28)
    assert {split.dtype for split in vars(original).values()} == {np.dtype(np.uint8)}


def test_splits_are_torchvisions_images_each_once(original: Arrays, real_data: Path) -> None:
    assert np.array_equal(original.train[:, 0], _torchvision(real_data, train=True)[0])
    test = [image.tobytes() for image in _torchvision(real_data, train=False)[0]]
    assert len(set(test)) == 10_000
    labels = [image.tobytes() for image in original.label_images]
    held_out = [image.tobytes() for image in original.held_out]
    assert sorted(labels + held_out) == sorted(test)
    assert labels != test[:1_000]


def test_splits_are_fixed(original: Arrays) -> None:
    assert (original.held_out_masks[:12].max((1, 2)) - 1).tolist() == HELD_OUT_DIGITS
    counts = np.bincount(original.label_masks.max((1, 2)) - 1, minlength=10)
    assert counts.min() > 70  # every digit has its share of the label pool


def test_mask_is_the_digit_where_there_is_ink(original: Arrays, real_data: Path) -> None:
    digit_of = {image.tobytes(): digit for image, digit in zip(*_torchvision(real_data, train=False), strict=True)}
    for image, mask in zip(original.held_out[:300, 0], original.held_out_masks[:300], strict=True):
        expected = np.where(image / 255 > 0.35, digit_of[image.tobytes()] + 1, 0)
        assert np.array_equal(mask, expected)


@pytest.mark.parametrize("size", [16, 32, 45])
def test_resize_is_torchs_bilinear_one(size: int, original: Arrays) -> None:
    images = original.train[:500]
    expected = F.interpolate(
        torch.from_numpy(images).float(), size=(size, size), mode="bilinear", antialias=size < 28, align_corners=False
    )
    found = mnist._images(images[:, 0], size)
    assert np.abs(found - expected.numpy()).max() <= 0.502  # rounded, and nothing more


def test_ink_is_judged_at_the_image_size(original: Arrays, real_data: Path) -> None:
    found = data.arrays(_data(32), real_data)
    ink = found.held_out[:, 0] / 255
    inside = found.held_out_masks > 0
    # The threshold acts before the rounding to 256 values.
    assert ink[inside].min() > 0.35 - 1 / 255
    assert ink[~inside].max() < 0.35 + 1 / 255
    assert inside.any((1, 2)).all()
    assert np.array_equal(found.held_out_masks.max((1, 2)), original.held_out_masks.max((1, 2)))


@pytest.mark.parametrize(("constant", "value"), [("INK", 0.9), ("SPLIT_SEED", 1), ("LABELS", 10), ("VERSION", 2)])
def test_fingerprint_tells_another_dataset(constant: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    before = data.about(_data(28)).fingerprint
    monkeypatch.setattr(mnist, constant, value)
    assert data.about(_data(28)).fingerprint != before


def test_root_may_be_the_datasets_own_folder(real_data: Path, original: Arrays) -> None:
    found = data.arrays(_data(28), real_data / "mnist")
    assert np.array_equal(found.label_masks, original.label_masks)


def test_files_that_are_not_mnists_are_all_named(tmp_path: Path) -> None:
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in list(mnist.SHA256)[:3]:
        (raw / name).write_bytes(b"hello")
    with pytest.raises(DataError) as caught:
        data.arrays(_data(28), tmp_path)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(": ")[0].strip() for line in lines] == [str(raw / name) for name in mnist.SHA256]
    assert ["is not MNIST's: its sha256 should be" in line for line in lines] == [True, True, True, False]
    assert lines[3].endswith("cannot be read: No such file or directory")


def test_missing_files_are_missed_by_arrays_alone(tmp_path: Path) -> None:
    data.about(_data(28), tmp_path)
    with pytest.raises(DataError, match="there is no mnist data"):
        data.arrays(_data(28), tmp_path)


def test_neither_about_nor_read_needs_torch(real_data: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainables import data; from trainables.config import Data; "
        "settings = Data(dataset='mnist', image_size=8), Path(sys.argv[1]); "
        "data.about(*settings); data.read(*settings); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(real_data)], cwd=ROOT, check=False).returncode == 0


# A small MNIST: what the real one is tested for above, where its files are not.


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The arrays of the four files, of 7 and 12 images, no two alike, as they lie below `tmp_path`."""
    draw = np.random.default_rng(0)
    arrays = {
        name: draw.integers(0, 256, (count, 28, 28), np.uint8) if "images" in name else draw.integers(0, 10, count)
        for name, count in zip(mnist.SHA256, (7, 7, 12, 12), strict=True)
    }
    raw = tmp_path / "mnist" / mnist.MARKER
    raw.mkdir(parents=True)
    files = {name: _idx(values.astype(np.uint8)) for name, values in arrays.items()}
    for name, content in files.items():
        (raw / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for constant, value in (("SHA256", sums), ("TRAIN", 7), ("TEST", 12), ("LABELS", 4)):
        monkeypatch.setattr(mnist, constant, value)
    return arrays


def test_small_splits_are_the_files_images_each_once_and_their_digits(
    few: dict[str, np.ndarray], tmp_path: Path
) -> None:
    found, about = data.arrays(_data(28), tmp_path), data.about(_data(28), tmp_path)
    train, _, test, digits = few.values()
    assert (about.train_images, about.label_images, about.held_out_images) == (7, 4, 8)
    assert np.array_equal(found.train[:, 0], train)
    assert (len(found.label_images), len(found.held_out)) == (4, 8)
    images = np.concatenate([found.label_images, found.held_out])[:, 0]
    masks = np.concatenate([found.label_masks, found.held_out_masks])
    number_of = {image.tobytes(): number for number, image in enumerate(test)}
    order = [number_of[image.tobytes()] for image in images]
    assert sorted(order) == list(range(12))
    assert order != list(range(12))  # at random, so that no split is a writer's
    for image, mask, number in zip(images, masks, order, strict=True):
        assert np.array_equal(mask, np.where(image / 255 > 0.35, digits[number] + 1, 0))


def test_small_images_are_resized_as_torch_does_and_in_batches(
    few: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "BATCH", 3)
    found = data.arrays(_data(16), tmp_path)
    images = torch.from_numpy(few["train-images-idx3-ubyte"]).float()[:, None]
    expected = F.interpolate(images, size=(16, 16), mode="bilinear", antialias=True, align_corners=False)
    assert np.abs(found.train - expected.numpy()).max() <= 0.502
    assert found.held_out.shape == (8, 1, 16, 16)
    assert found.held_out_masks.shape == (8, 16, 16)


# Downloads: torchvision's own code, with the network replaced.


def _idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def test_download_unpacks_the_four_files(tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import MNIST

    arrays = {name: np.zeros((3, 28, 28)[: 3 if "images" in name else 1], np.uint8) for name in mnist.SHA256}
    packed = {f"{name}.gz": gzip.compress(_idx(values)) for name, values in arrays.items()}
    md5 = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr(MNIST, "resources", md5)
    serve(packed)
    mnist.download(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(mnist.SHA256)
    assert (tmp_path / "mnist" / "MNIST" / "raw").is_dir()


def test_a_download_that_is_cut_leaves_nothing(tmp_path: Path, serve: Any) -> None:
    asked = serve({"train-images-idx3-ubyte.gz": b"half of it"})
    with pytest.raises(DataError) as caught:
        mnist.download(tmp_path)
    assert asked
    for part in (mnist.SOURCE, "--data-root", "ABLATION_DATA", str(tmp_path / "mnist" / "MNIST" / "raw")):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []
