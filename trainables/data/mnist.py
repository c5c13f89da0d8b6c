"""MNIST: 70,000 handwritten digits of 28x28 pixels, with a mask for each that needs one.

    ROOT/mnist/MNIST/raw/    the four files, unpacked, as torchvision lays them out

A mask is 0 (background) where there is no ink and 1 + the digit's class where there is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.data import About, Arrays
from trainables.data.cache import by_torchvision, downloaded, located, verified
from trainables.data.digits import CLASS_NAMES, INK
from trainables.data.listing import shuffled
from trainables.sections import Data

MARKER = "MNIST/raw"
SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/ (four .gz files, to be unpacked)"
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
VERSION = 1  # of the reading below
SPLIT_SEED = 20240526  # fixed: the splits are the same for every seed, study and machine
TRAIN, TEST, LABELS = 60_000, 10_000, 1_000  # the first LABELS of the shuffled test images; the others are held out
SIDE = 28
BATCH = 5_000  # images that are resized together


def about(data: Data, root: Path | None = None) -> About:
    """The facts of MNIST, which has been the same since 1998: no file is read."""
    facts = [VERSION, SHA256, SPLIT_SEED, LABELS, INK]
    fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return About(1, CLASS_NAMES, TRAIN, LABELS, TEST - LABELS, fingerprint)


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """Its facts, and MNIST brought to `data.image_size` bilinearly (antialiased where it gets smaller).

    Raises:
        DataError: files that are missing or not MNIST's.
    """
    contents = verified(located(root, "mnist", MARKER) / MARKER, SHA256, "sha256", "MNIST", SOURCE)
    return about(data, root), splits([idx_array(content) for content in contents], data.image_size)


def splits(files: Sequence[NDArray[np.uint8]], size: int) -> Arrays:
    """The splits of a dataset of MNIST's kind, brought to `size`.

    Args:
        files: training images (N, 28, 28) and their classes (N,), test images and theirs.
    """
    train, _, test, classes = files
    order = np.array([int(name) for name in shuffled(map(str, range(TEST)), SPLIT_SEED)])
    images, masks = _with_masks(test[order], classes[order], size)
    return Arrays(_images(train, size), images[:LABELS], masks[:LABELS], images[LABELS:], masks[LABELS:])


def download(root: Path) -> None:
    """Puts MNIST at `root/mnist` by torchvision, unless it is there.

    Raises:
        DataError: the download failed; nothing is left of it.
    """
    downloaded(root / "mnist", MARKER, by_torchvision("MNIST"), SOURCE)


def idx_array(content: bytes) -> NDArray[np.uint8]:
    """The array in an IDX file of bytes: a magic number that ends in the dimensions, their lengths, the values."""
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _with_masks(
    images: NDArray[np.uint8], digits: NDArray[np.uint8], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    ink = _ink(images, size)
    return np.rint(ink).astype(np.uint8)[:, None], np.where(ink > INK * 255, digits[:, None, None] + 1, 0).astype(
        np.uint8
    )


def _images(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(N, 1, S, S)."""
    parts = [np.rint(_ink(images[i : i + BATCH], size)).astype(np.uint8) for i in range(0, len(images), BATCH)]
    return np.concatenate(parts)[:, None]


def _ink(images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Ink from 0 to 255, (N, S, S).

    The resize is linear and separable: the resized unit matrix holds its weights, and 10,000 images take two products.
    """
    unit = Image.fromarray(np.eye(SIDE, dtype=np.float32))
    weights = np.asarray(unit.resize((SIDE, size), Image.Resampling.BILINEAR))  # (S, 28)
    return weights @ images.astype(np.float32) @ weights.T
