"""Fashion-MNIST: 70,000 pictures of clothes of 28x28 pixels in MNIST's format, with a mask for each that needs one.

    ROOT/fashion_mnist/FashionMNIST/raw/    the four .gz files, as they are published and torchvision leaves them

The splits and the masks are made as MNIST's are: a mask is 1 + the class where a pixel is brighter than `INK` and 0
(background) elsewhere. So parts of a garment that are darker than that are background: no outline of it.

Source: Xiao et al. 2017 (arXiv:1708.07747); the checksums are torchvision's, of the packed files.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

from trainables.data import About, Arrays, mnist
from trainables.data.cache import by_torchvision, downloaded, located, verified
from trainables.data.digits import INK
from trainables.data.mnist import LABELS, SPLIT_SEED, TEST, TRAIN
from trainables.sections import Data

MARKER = "FashionMNIST/raw"
SOURCE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/ (four .gz files, as they are)"
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
CLASS_NAMES = (
    *("background", "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag"),
    "ankle boot",
)
VERSION = 1  # of the reading


def about(data: Data, root: Path | None = None) -> About:
    """The facts of Fashion-MNIST, which is always the same: no file is read."""
    facts = [VERSION, MD5, SPLIT_SEED, LABELS, INK]
    fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return About(1, CLASS_NAMES, TRAIN, LABELS, TEST - LABELS, fingerprint)


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """Its facts, and Fashion-MNIST brought to `data.image_size` as MNIST is.

    Raises:
        DataError: files that are missing or not Fashion-MNIST's.
    """
    folder = located(root, "fashion_mnist", MARKER) / MARKER
    packed = verified(folder, MD5, "md5", "Fashion-MNIST", SOURCE)
    files = [mnist.idx_array(gzip.decompress(content)) for content in packed]
    return about(data, root), mnist.splits(files, data.image_size)


def download(root: Path) -> None:
    """Puts Fashion-MNIST at `root/fashion_mnist` by torchvision, unless it is there.

    Raises:
        DataError: the download failed; nothing is left of it.
    """
    # The published checksums are of the packed files, so those are kept.
    downloaded(root / "fashion_mnist", MARKER, by_torchvision("FashionMNIST"), SOURCE, unwanted=("*-ubyte",))
