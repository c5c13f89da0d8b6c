"""Fashion-MNIST in small files of its format: they are read from the archives, as MNIST is, and nothing else is."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables import data
from trainables.data import DataError, fashion_mnist, mnist
from trainables.sections import Data

DATA = Data(dataset="fashion_mnist", image_size=28)


def _idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The arrays of the four files, of 7 and 12 images, no two alike."""
    draw = np.random.default_rng(0)
    for module in (fashion_mnist, mnist):
        for constant, value in (("TRAIN", 7), ("TEST", 12), ("LABELS", 4)):
            monkeypatch.setattr(module, constant, value)
    return {
        name: (draw.integers(0, 256, (n, 28, 28)) if "images" in name else draw.integers(0, 10, n)).astype(np.uint8)
        for name, n in zip(fashion_mnist.MD5, (7, 7, 12, 12), strict=True)
    }


@pytest.fixture
def packed(few: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files themselves, with their checksums in place of the real ones."""
    files = {name: gzip.compress(_idx(values)) for name, values in few.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(fashion_mnist, "MD5", sums)
    return files


def _lay_out(files: dict[str, bytes], root: Path) -> Path:
    raw = root / "fashion_mnist" / fashion_mnist.MARKER
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return raw


def test_checksums_and_classes_are_torchvisions() -> None:
    from torchvision.datasets import FashionMNIST

    assert list(fashion_mnist.MD5.items()) == FashionMNIST.resources
    assert [name.lower() for name in fashion_mnist.CLASS_NAMES[1:]] == [name.lower() for name in FashionMNIST.classes]
    assert fashion_mnist.SOURCE.split()[0] in FashionMNIST.mirrors


def test_splits_and_masks_are_made_as_mnists_are(
    few: dict[str, np.ndarray], packed: dict[str, bytes], tmp_path: Path
) -> None:
    _lay_out(packed, tmp_path)
    found, about = data.arrays(DATA, tmp_path), data.about(DATA)
    assert (about.image_channels, about.train_images, about.label_images, about.held_out_images) == (1, 7, 4, 8)
    train, _, test, classes = few.values()
    assert np.array_equal(found.train[:, 0], train)
    images = np.concatenate([found.label_images, found.held_out])[:, 0]
    masks = np.concatenate([found.label_masks, found.held_out_masks])
    number_of = {image.tobytes(): number for number, image in enumerate(test)}
    order = [number_of[image.tobytes()] for image in images]
    assert sorted(order) == list(range(12)) != order
    assert np.array_equal(masks, np.where(images / 255 > 0.35, classes[order, None, None] + 1, 0))
    assert data.arrays(Data(dataset="fashion_mnist", image_size=16), tmp_path).train.shape == (7, 1, 16, 16)


def test_it_is_not_mnist() -> None:
    assert data.about(DATA).fingerprint != data.about(Data(dataset="mnist")).fingerprint
    assert len(data.about(DATA).class_names) == 11


def test_files_that_are_others_are_all_named(packed: dict[str, bytes], tmp_path: Path) -> None:
    first, *_, last = packed
    raw = _lay_out({**packed, first: b"hello"}, tmp_path)
    (raw / last).unlink()
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, tmp_path)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("the Fashion-MNIST data in") and fashion_mnist.SOURCE in head
    assert f"{first}: is not Fashion-MNIST's: its md5 should be" in lines[0]
    assert f"{last}: cannot be read: No such file" in lines[1]


def test_download_keeps_the_archives_that_the_checksums_are_of(
    few: dict[str, np.ndarray], packed: dict[str, bytes], tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(FashionMNIST, "resources", list(fashion_mnist.MD5.items()))
    serve(packed)
    fashion_mnist.download(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(packed)
    assert np.array_equal(data.arrays(DATA, tmp_path).train[:, 0], next(iter(few.values())))
