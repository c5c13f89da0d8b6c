"""CIFAR-10: 60,000 colour images of 32x32 pixels, without masks.

    ROOT/cifar10/cifar-10-batches-py/    the python version, unpacked, as torchvision lays it out

The 50,000 training images train, the 10,000 test images are held out, both in the files' order.

Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; the checksums are torchvision's.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data import About, Arrays
from trainables.data.array_images import squashed_all, without_masks
from trainables.data.cache import by_torchvision, cached, downloaded, located, verified
from trainables.sections import Data

MARKER = "cifar-10-batches-py"
SOURCE = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (to be unpacked)"
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
VERSION = 1  # of the reading
TRAIN, TEST = 50_000, 10_000
SIDE = 32
NEEDED = {"_reconstruct", "ndarray", "dtype"}  # of numpy, by the pickled arrays


def about(data: Data, root: Path | None = None) -> About:
    """The facts of CIFAR-10, which is always the same: no file is read."""
    fingerprint = hashlib.sha256(json.dumps([VERSION, MD5]).encode()).hexdigest()
    return About(3, (), TRAIN, 0, TEST, fingerprint)


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """Its facts, and CIFAR-10 brought to `data.image_size`.

    Raises:
        DataError: files that are missing or not CIFAR-10's.
    """
    facts = about(data, root)
    contents = verified(located(root, "cifar10", MARKER) / MARKER, MD5, "md5", "CIFAR-10", SOURCE)

    def made() -> Arrays:
        *train, held_out = (squashed_all(_images(content), data.image_size) for content in contents)
        return without_masks(np.concatenate(train), held_out)

    return facts, cached(f"cifar10-{data.image_size}-{facts.fingerprint}", made)


def download(root: Path) -> None:
    """Puts CIFAR-10 (170 MB packed) at `root/cifar10` by torchvision, unless it is there.

    Raises:
        DataError: the download failed; nothing is left of it.
    """
    downloaded(root / "cifar10", MARKER, by_torchvision("CIFAR10"), SOURCE)


def _images(content: bytes) -> NDArray[np.uint8]:
    """The images in one file, (N, 32, 32, 3)."""
    rows: NDArray[np.uint8] = _Unpickler(io.BytesIO(content), encoding="latin1").load()["data"]
    return rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


class _Unpickler(pickle.Unpickler):
    """Python's, for arrays alone: a pickle may call whatever it names."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] != "numpy" or name not in NEEDED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module, name)
