"""The datasets, one module each, with two functions.

about(data, root) -> About               what the plan must know; imports no torch, so that a dry run is quick
read(data, root) -> (About, Arrays)      that, and the images and masks themselves, every file read and checked

Some have a third, `examine`: of files that people made, what a person should see before a study; of data that ship with
a library, that there is nothing to look at.

Both go through the files once, of which there may be tens of thousands: each is hashed once a call.

`root` is where the files are: a fact of the machine, not a setting, so it is no part of any key.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from trainables.cache import cache_folder
from trainables.sections import Data

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MODULES = {
    "digits": "trainables.data.digits",
    "mnist": "trainables.data.mnist",
    "fashion_mnist": "trainables.data.fashion_mnist",
    "cifar10": "trainables.data.cifar10",
    "voc": "trainables.data.voc",
    "folder": "trainables.data.folder",
    "bedroom28": "trainables.data.bedroom28",
}


class DataError(ValueError):
    """Data that cannot be used. Its text is one line that says why, then one line an offending file.

    Args:
        problem: what is wrong, with the folder.
        offenders: "path: what is wrong with it", all of them.
    """

    def __init__(self, problem: str, offenders: Iterable[str] = ()) -> None:
        super().__init__("\n  ".join([problem, *offenders]))


@dataclass(frozen=True)
class About:
    """The facts of a dataset that decide whether a config fits it.

    One without masks has no class names and no label images.
    """

    image_channels: int
    class_names: tuple[str, ...]
    train_images: int
    label_images: int  # the pool that segmentation.label_images are drawn from
    held_out_images: int
    fingerprint: str  # of the files; a part of every stage's key
    ignore_index: int = 255  # the mask value that is no class: never trained on, never scored
    unscored_classes: tuple[int, ...] = ()  # trained on, but no part of the mIoU


@dataclass(frozen=True)
class Arrays:
    """Three disjoint splits. Images are uint8 (N, C, H, W), masks uint8 (N, H, W); without masks N is 0 for them."""

    train: NDArray[np.uint8]
    label_images: NDArray[np.uint8]
    label_masks: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    held_out_masks: NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """The same as tensors, with what is known about them."""

    about: About
    train: Tensor
    label_images: Tensor
    label_masks: Tensor
    held_out: Tensor
    held_out_masks: Tensor


@dataclass(frozen=True)
class Survey:
    """What the masks and images of a dataset hold, for a person to look at.

    Args:
        label_pixels: pixels of the label pool's masks by their number, 256 of them.
        held_out_pixels: the same of the held-out masks.
        remarks: a line each, on what a person should know.
    """

    label_pixels: tuple[int, ...]
    held_out_pixels: tuple[int, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examined:
    """What a look at a dataset's files gave.

    Args:
        arrays: where they were asked for.
        survey: of files that people made; None for a dataset that is always the same.
    """

    about: About
    arrays: Arrays | None
    survey: Survey | None = None


class Module(Protocol):
    """What a dataset's module offers. Both raise `DataError` where the files are not there or cannot be used."""

    def about(self, data: Data, root: Path | None) -> About:
        """The dataset's facts."""

    def read(self, data: Data, root: Path | None) -> tuple[About, Arrays]:
        """The same facts, and its images and masks at `data.image_size`."""


def about(data: Data, root: Path | None = None) -> About:
    """The facts of the dataset that `data` names.

    Args:
        root: the folder of the data; None for the dataset's own default.
    """
    return _module(data).about(data, root)


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """The facts of the dataset that `data` names, and its images and masks, at its image size, as arrays."""
    return _module(data).read(data, root)


def examine(data: Data, root: Path | None = None, *, images: bool) -> Examined:
    """All that can be known of the dataset before a study, by going through its files once.

    Args:
        images: whether they are decoded too; else only masks are.

    Raises:
        DataError: files that cannot be used.
    """
    module = _module(data)
    if own := getattr(module, "examine", None):
        return cast(Examined, own(data, root, images))
    return Examined(*module.read(data, root)) if images else Examined(module.about(data, root), None)


def arrays(data: Data, root: Path | None = None) -> Arrays:
    """The images and masks of the dataset that `data` names, at its image size, as arrays."""
    return read(data, root)[1]


def obtain(data: Data, root: Path | None = None) -> None:
    """Downloads the dataset that `data` names if it can be downloaded and is not there.

    Raises:
        DataError: the download failed.
    """
    download = getattr(_module(data), "download", None)
    if download is not None and root is None:
        download(cache_folder() / "data")


def load(data: Data, root: Path | None = None) -> Dataset:
    """The images and masks of the dataset that `data` names, at its image size, as tensors."""
    import torch

    facts, splits = read(data, root)
    return Dataset(facts, **{name: torch.from_numpy(split) for name, split in vars(splits).items()})


def module_of(dataset: str) -> str:
    """The name of the module that reads a dataset, ours or a person's own."""
    return MODULES.get(dataset, "trainables.data.own")


def _module(data: Data) -> Module:
    return cast(Module, importlib.import_module(module_of(data.dataset)))
