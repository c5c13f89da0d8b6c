"""The datasets, one module each, with two functions.

about(data) -> About      what the plan must know; imports no torch, so that a dry run is quick
load(data) -> Dataset     the images and masks themselves
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from trainables.config import Data

if TYPE_CHECKING:
    from torch import Tensor

MODULES = {"digits": "trainables.data.digits"}


@dataclass(frozen=True)
class About:
    """The facts of a dataset that decide whether a config fits it."""

    image_channels: int
    class_names: tuple[str, ...]
    train_images: int
    label_images: int  # the pool that segmentation.label_images are drawn from
    held_out_images: int
    fingerprint: str  # of the files; a part of every stage's key
    ignore_index: int = 255  # the mask value that is no class: never trained on, never scored


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits. Images are uint8 (N, C, H, W), masks uint8 (N, H, W)."""

    about: About
    train: Tensor
    label_images: Tensor
    label_masks: Tensor
    held_out: Tensor
    held_out_masks: Tensor


class Module(Protocol):
    """What a dataset's module offers."""

    def about(self, data: Data) -> About:
        """The dataset's facts."""

    def load(self, data: Data) -> Dataset:
        """Its images and masks."""


def about(data: Data) -> About:
    """The facts of the dataset that `data` names."""
    return _module(data).about(data)


def load(data: Data) -> Dataset:
    """The dataset that `data` names, at its image size."""
    return _module(data).load(data)


def _module(data: Data) -> Module:
    return cast(Module, importlib.import_module(MODULES[data.dataset]))
