"""Bedroom-28: LSUN bedrooms with labels of their parts, as ddpm-segmentation publishes them.

    ROOT/bedroom_28/real/train/STEM.{png,jpg,jpeg,bmp,webp}    beside its label, STEM.npy
    ROOT/bedroom_28/real/test/...                         the same; suffixes may be in capitals

ROOT/datasets/bedroom_28 and ROOT itself will do as well. real/train is the label pool and real/test is held out, both
sorted by name. There are no images to train a DDPM on: the dataset goes with a pretrained one.

Source: Baranchuk et al. 2022 (arXiv:2112.03126), section 4; the classes are those of its published code.
"""

from __future__ import annotations

from pathlib import Path

from trainables.data import About, Arrays, Examined, reading
from trainables.data.cache import located
from trainables.data.listing import Listing, Pair, files_in, images_in
from trainables.sections import Data

CLASS_NAMES = (
    *("background", "bed", "bed footboard", "bed headboard", "bed side rail", "carpet", "ceiling"),
    *("chandelier / ceiling fan blade", "curtain", "cushion", "floor", "table / nightstand / dresser"),
    *("table / nightstand / dresser top", "picture / mirror", "pillow", "lamp column", "lamp shade", "wall", "window"),
    *("curtain rod", "window frame", "chair", "picture / mirror frame", "plinth", "door / door frame", "pouf"),
    *("wardrobe", "plant", "table staff"),
)
IGNORE_INDEX = 0  # the background is neither trained on nor scored, as in the reference
UNSCORED = (0,)


def about(data: Data, root: Path | None = None) -> About:
    """The facts of the dataset: the same at every image size."""
    return reading.about(_listing(root))


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """Its facts, and its images and masks at `data.image_size`."""
    return reading.read(_listing(root), data)


def examine(data: Data, root: Path | None, images: bool) -> Examined:
    """Its facts, and what its masks hold; its images and masks as well where they are wanted."""
    return reading.examine(_listing(root), data, images)


def _listing(root: Path | None) -> Listing:
    folder = located(root, "bedroom_28", "real/train", "datasets/bedroom_28")
    listing = Listing("bedroom28", folder, class_names=CLASS_NAMES, square=True)
    listing.ignore_index, listing.unscored_classes = IGNORE_INDEX, UNSCORED
    listing.labels = _pairs(folder / "real" / "train", listing)
    listing.held_out = _pairs(folder / "real" / "test", listing)
    return listing


def _pairs(folder: Path, listing: Listing) -> list[Pair]:
    if not folder.is_dir():
        listing.offenders.add(folder, "is missing")
        return []
    images = images_in(folder, listing.offenders)
    if not images:
        listing.offenders.add(folder, "holds no image")
    masks = files_in(folder, (".npy",))
    return [Pair(path, masks.get(stem, [path.with_suffix(".npy")])[-1]) for stem, path in images.items()]
