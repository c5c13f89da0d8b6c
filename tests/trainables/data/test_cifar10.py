"""CIFAR-10 in small files of its format: pickles of Python 2, which are verified before they are read."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from trainables import data
from trainables.data import DataError, cifar10
from trainables.sections import Data

DATA = Data(dataset="cifar10", image_size=32)


class Python2(pickle._Pickler):
    """Writes texts and bytes alike as Python 2 did, in which the real files were made."""

    def save_string(self, value: bytes | str) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_string, str: save_string}


def _batch(images: np.ndarray) -> bytes:
    """A file of the images (N, 32, 32, 3): a row has all red values, all green ones and all blue ones."""
    rows, out = images.transpose(0, 3, 1, 2).reshape(len(images), -1), io.BytesIO()
    content = {"data": rows, "labels": [3] * len(rows), "batch_label": "a", "filenames": ["b.png"] * len(rows)}
    Python2(out, protocol=2).dump(content)
    return out.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {name: draw.integers(0, 256, (2, 32, 32, 3), np.uint8) for name in cifar10.MD5}


@pytest.fixture
def files(images: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of two images each, with their checksums in place of the real ones."""
    made = {name: _batch(batch) for name, batch in images.items()}
    monkeypatch.setattr(cifar10, "MD5", {name: hashlib.md5(content).hexdigest() for name, content in made.items()})
    monkeypatch.setattr(cifar10, "TRAIN", 10)
    monkeypatch.setattr(cifar10, "TEST", 2)
    return made


@pytest.fixture
def root(files: dict[str, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "cifar10" / cifar10.MARKER
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return tmp_path


def test_checksums_and_places_are_torchvisions() -> None:
    from torchvision.datasets import CIFAR10

    assert list(cifar10.MD5.items()) == [tuple(entry) for entry in CIFAR10.train_list + CIFAR10.test_list]
    assert CIFAR10.base_folder == cifar10.MARKER
    assert cifar10.SOURCE.split()[0] == CIFAR10.url


def test_real_counts() -> None:
    about = data.about(DATA)
    assert (about.image_channels, about.class_names) == (3, ())
    assert (about.train_images, about.label_images, about.held_out_images) == (50_000, 0, 10_000)


def test_images_are_torchvisions_in_its_order(
    root: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    listed = [list(entry) for entry in cifar10.MD5.items()]
    monkeypatch.setattr(CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(CIFAR10, "test_list", listed[5:])
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    found = data.arrays(DATA, root)
    for split, train in ((found.train, True), (found.held_out, False)):
        assert np.array_equal(split.transpose(0, 2, 3, 1), CIFAR10(str(root / "cifar10"), train=train).data)
    assert found.label_images.shape == (0, 3, 32, 32)
    assert found.label_masks.shape == found.held_out_masks.shape == (0, 32, 32)
    assert {split.dtype for split in vars(found).values()} == {np.dtype(np.uint8)}


def test_resize_is_that_of_files(root: Path, images: dict[str, np.ndarray]) -> None:
    found = data.arrays(Data(dataset="cifar10", image_size=16), root)
    expected = Image.fromarray(images["data_batch_1"][1]).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(found.train[1].transpose(1, 2, 0), np.asarray(expected))


def test_root_may_be_the_datasets_own_folder(root: Path) -> None:
    assert np.array_equal(data.arrays(DATA, root / "cifar10").held_out, data.arrays(DATA, root).held_out)


def test_files_that_are_others_are_all_named_and_never_unpickled(root: Path) -> None:
    folder = root / "cifar10" / cifar10.MARKER
    (folder / "data_batch_2").write_bytes(b"cos\nsystem\n(S'touch evil'\ntR.")
    (folder / "test_batch").unlink()
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("the CIFAR-10 data in") and cifar10.SOURCE in head
    assert "data_batch_2: is not CIFAR-10's: its md5 should be" in lines[0]
    assert "test_batch: cannot be read: No such file" in lines[1]
    assert len(lines) == 2


def test_a_pickle_that_calls_something_is_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"posix.system is no part of an array"):
        cifar10._images(b"cposix\nsystem\n(S'true'\ntR.")


@pytest.mark.parametrize(("constant", "value"), [("VERSION", 2), ("MD5", {"data_batch_1": "0"})])
def test_fingerprint_tells_another_dataset(constant: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = data.about(DATA).fingerprint
    monkeypatch.setattr(cifar10, constant, value)
    assert data.about(DATA).fingerprint != before


def test_download_unpacks_and_verifies(
    files: dict[str, bytes], tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{cifar10.MARKER}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    listed = [list(entry) for entry in cifar10.MD5.items()]
    monkeypatch.setattr(CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(CIFAR10, "test_list", listed[5:])
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(packed.getvalue()).hexdigest())
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    serve({CIFAR10.filename: packed.getvalue()})
    cifar10.download(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(files)
    assert len(data.arrays(DATA, tmp_path).train) == 10
