"""What is kept on the machine: decoded arrays that may be damaged, downloads that may be cut."""

from __future__ import annotations

import os
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables import data, source
from trainables.cache import cache_folder
from trainables.data import Arrays, DataError, cifar10, fashion_mnist, mnist, reading, voc
from trainables.data.cache import cached, downloaded
from trainables.sections import Data

DATA = Data(dataset="folder", image_size=8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _arrays(value: int = 1) -> Arrays:
    images, masks = np.full((3, 1, 8, 8), value, np.uint8), np.full((3, 8, 8), value + 1, np.uint8)
    return Arrays(images, images[:2], masks[:2], images[2:], masks[2:])


def _same(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def _refuse() -> Arrays:
    raise AssertionError("made again")


# Where data lie


def test_missing_data_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, tmp_path)
    for part in (str(tmp_path / "folder"), f"  {tmp_path}", "the folder images", "--data-root", "ABLATION_DATA"):
        assert part in str(caught.value)


def test_default_place_is_the_cache_folder(tree: Any, folder_tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tree.root.parent / "cache"))
    with pytest.raises(DataError, match="cache/data"):
        data.about(DATA)
    (tree.root.parent / "cache" / "data").mkdir(parents=True)
    tree.root.rename(tree.root.parent / "cache" / "data" / "folder")
    assert data.about(DATA).train_images == 6


# Decoded arrays


def test_arrays_are_made_once(folder: Path) -> None:
    made = cached("a", _arrays)
    found = cached("a", _refuse)
    assert _same(made, found)
    assert _same(made, _arrays())
    assert all(split.flags.writeable for split in vars(found).values())  # torch warns of others
    assert not _same(cached("b", lambda: _arrays(2)), made)
    assert sorted(path.name for path in (folder / "arrays").iterdir()) == ["a.npz", "b.npz"]


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    """One bit of a mask's pixels."""
    at = content.index(bytes([2] * 60))
    return content[:at] + bytes([3]) + content[at + 1 :]


@pytest.mark.parametrize("damage", [_cut, _flip, lambda _: b"", lambda _: b"hello"])
def test_damaged_cache_is_made_again(damage: Any, folder: Path) -> None:
    cached("a", _arrays)
    path = folder / "arrays" / "a.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"a.npz is damaged"):
        assert _same(cached("a", _arrays), _arrays())
    assert _same(cached("a", _refuse), _arrays())


def test_cache_is_read_without_pickle(folder: Path) -> None:
    cached("a", _arrays)
    splits: dict[str, Any] = {**vars(_arrays()), "train": np.array([{}])}
    np.savez(folder / "arrays" / "a.npz", **splits)
    with pytest.warns(UserWarning, match="Object arrays cannot be loaded"):
        assert _same(cached("a", _arrays), _arrays())


def test_full_disk_costs_the_cache_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert _same(cached("a", _arrays), _arrays())
    assert list((folder / "arrays").iterdir()) == []


def test_images_are_decoded_once_for_each_size_and_content(folder_tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = reading.read_image

    def counted(path: Path, channels: int, size: int) -> Any:
        read.append(path)
        return real(path, channels, size)

    monkeypatch.setattr(reading, "read_image", counted)
    first = data.arrays(DATA, folder_tree.root)
    assert len(read) == 10
    assert _same(data.arrays(DATA, folder_tree.root), first)
    assert len(read) == 10
    assert data.arrays(Data(dataset="folder", image_size=16), folder_tree.root).train.shape[-1] == 16
    assert len(read) == 20
    folder_tree.image("images/0.png", mode="L")
    assert not _same(data.arrays(DATA, folder_tree.root), first)
    assert len(read) == 30


def test_images_are_decoded_again_once_the_code_that_reads_them_is_edited(
    folder_tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.arrays(DATA, folder_tree.root)
    shutil.copytree(source.ROOT / "trainables", tmp_path / "edited" / "trainables")
    edited = tmp_path / "edited" / "trainables" / "data" / "image_file.py"
    edited.write_text(edited.read_text().replace("Resampling.BICUBIC", "Resampling.BOX"))
    monkeypatch.setattr(source, "ROOT", tmp_path / "edited")
    monkeypatch.setattr(reading, "read_image", partial(_turned, reading.read_image))
    source._file.cache_clear()
    source._read.cache_clear()
    try:
        assert not _same(data.arrays(DATA, folder_tree.root), first)
    finally:
        source._file.cache_clear()
        source._read.cache_clear()


def _turned(read: Any, path: Path, channels: int, size: int) -> Any:
    return read(path, channels, size)[:, ::-1]


def test_what_cannot_be_used_is_not_kept(folder_tree: Any, folder: Path) -> None:
    path = folder_tree.root / "images" / "0.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError):
        data.arrays(DATA, folder_tree.root)
    assert not (folder / "arrays").exists()


# Downloads


def _whole(target: Path) -> None:
    (target / "marker").mkdir()
    (target / "marker" / "file").write_text("all of it")
    (target / "file.gz").write_text("")
    (target / "marker" / "file.tar").write_text("")


def _broken(target: Path) -> None:
    (target / "marker").mkdir()
    raise RuntimeError("File not found or\ncorrupted.")


def test_download_arrives_whole_and_without_its_archives(tmp_path: Path) -> None:
    target = tmp_path / "root" / "mnist"
    downloaded(target, "marker", _whole, "nowhere")
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        *("root", "root/mnist", "root/mnist/marker", "root/mnist/marker/file")
    ]
    downloaded(target, "marker", _broken, "nowhere")  # it is there: nothing is fetched
    assert (target / "marker" / "file").read_text() == "all of it"


def test_failed_download_leaves_nothing_and_says_how_to_do_without(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        downloaded(tmp_path / "mnist", "marker", _broken, "https://example.org/mnist")
    first, *lines = str(caught.value).splitlines()
    assert first == f"mnist could not be downloaded to {tmp_path / 'mnist'}: File not found or corrupted."
    for part in ("https://example.org/mnist", str(tmp_path / "mnist" / "marker"), "--data-root", "ABLATION_DATA"):
        assert part in " ".join(lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", [mnist, fashion_mnist, cifar10, voc], ids=lambda module: module.__name__)
def test_without_a_network_each_dataset_says_how_to_do_without(dataset: Any, tmp_path: Path, serve: Any) -> None:
    name = dataset.__name__.rpartition(".")[2]
    asked = serve({})
    with pytest.raises(DataError) as caught:
        dataset.download(tmp_path)
    assert asked
    for part in (dataset.SOURCE, "--data-root", "ABLATION_DATA", str(tmp_path / name / dataset.MARKER)):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match=f"there is no {name} data"):
        data.arrays(Data(dataset=name), tmp_path)


def test_interrupted_download_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(target: Path) -> None:
        _whole(target)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloaded(tmp_path / "mnist", "marker", interrupted, "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_download_spares_what_another_process_has_put_there(tmp_path: Path) -> None:
    def late(target: Path) -> None:
        _whole(target)
        (tmp_path / "mnist" / "marker").mkdir(parents=True)
        (tmp_path / "mnist" / "marker" / "file").write_text("another's")

    downloaded(tmp_path / "mnist", "marker", late, "nowhere")
    assert (tmp_path / "mnist" / "marker" / "file").read_text() == "another's"
    assert os.listdir(tmp_path) == ["mnist"]


def test_download_spares_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        downloaded(tmp_path / "mnist", "marker", _whole, "nowhere")
    assert [p.name for p in tmp_path.rglob("*")] == ["mnist", "thesis.tex"]


def test_no_warning_without_damage() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached("a", _arrays)
        cached("a", _refuse)
    assert cache_folder().is_dir()
