"""PASCAL VOC 2012, or any data laid out as it is.

    ROOT/voc/VOCdevkit/VOC2012/JPEGImages/NAME.jpg
    ROOT/voc/VOCdevkit/VOC2012/SegmentationClass/NAME.png              class numbers; 255 is void
    ROOT/voc/VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt  names; test.txt may be there as well
    ROOT/voc/classes.yaml, or VOC2012/classes.yaml; .yml will do        optional: the classes' names

Suffixes may be in capitals.

The DDPM trains on train.txt. With masks for test.txt, val.txt is the label pool and test.txt is held out; without, as
in PASCAL's own release, val.txt is split in half at random once and for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from trainables.data import About, Arrays, Examined, reading
from trainables.data.cache import by_torchvision, downloaded, located
from trainables.data.listing import (
    CLASS_FILES,
    Listing,
    Pair,
    check_disjoint,
    class_names_in,
    files_in,
    names_in,
    shuffled,
    spelled,
)
from trainables.sections import Data

MARKER = "VOCdevkit/VOC2012"
SOURCE = "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
SPLIT_SEED = 20240526  # fixed: the splits are the same for every seed, study and machine
PASCAL_NAME = re.compile(r"\d{4}_\d{6}")
PASCAL_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def about(data: Data, root: Path | None = None) -> About:
    """The facts of the dataset: the same at every image size."""
    return reading.about(_listing(root))


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """Its facts, and its images and masks squashed to `data.image_size`."""
    return reading.read(_listing(root), data)


def examine(data: Data, root: Path | None, images: bool) -> Examined:
    """Its facts, and what its masks hold; its images and masks as well where they are wanted."""
    return reading.examine(_listing(root), data, images)


def download(root: Path) -> None:
    """Puts PASCAL VOC 2012 (2 GB) at `root/voc` by torchvision, unless it is there.

    Raises:
        DataError: the download failed; nothing is left of it.
    """
    downloaded(root / "voc", MARKER, by_torchvision("VOCSegmentation", year="2012", image_set="trainval"), SOURCE)


def _listing(root: Path | None) -> Listing:
    folder = located(root, "voc", MARKER)
    listing, base = Listing("voc", folder), folder / MARKER
    sets = base / "ImageSets" / "Segmentation"
    for part in (base / "JPEGImages", base / "SegmentationClass", sets / "train.txt", sets / "val.txt"):
        if not part.exists():
            listing.offenders.add(part, "is missing")
    listing.refuse()

    images = _suffixed(base / "JPEGImages", ".jpg")
    masks = _suffixed(base / "SegmentationClass", ".png")
    splits = _splits(sets, masks, listing)
    pairs = [[Pair(images(name), masks(name)) for name in names] for names in splits]
    listing.train, listing.labels, listing.held_out = [pair.image for pair in pairs[0]], pairs[1], pairs[2]
    classes = spelled(folder, *CLASS_FILES) + spelled(base, *CLASS_FILES)
    listing.class_names = class_names_in(classes, listing.offenders)
    if listing.class_names is None and all(PASCAL_NAME.fullmatch(name) for names in splits for name in names):
        listing.class_names = PASCAL_CLASSES
    return listing


def _splits(sets: Path, masks: Callable[[str], Path], listing: Listing) -> tuple[list[str], list[str], list[str]]:
    """The names of the three splits."""
    offenders = listing.offenders
    named = {sets / part: names_in(sets / part, offenders) for part in ("train.txt", "val.txt")}
    train, val = named.values()
    test_file = sets / "test.txt"
    test = names_in(test_file, offenders) if test_file.exists() else []
    # PASCAL keeps the masks of its test images to itself; where only some are missing, they are missed.
    if any(masks(name).exists() for name in test):
        check_disjoint({**named, test_file: test}, offenders)
        return train, val, test
    check_disjoint(named, offenders)
    if len(val) == 1:
        offenders.add(sets / "val.txt", "names one image; at least 2 are needed for two splits")
    order = shuffled(val, SPLIT_SEED)
    return train, order[: len(order) // 2], order[len(order) // 2 :]


def _suffixed(folder: Path, suffix: str) -> Callable[[str], Path]:
    """What finds a name's file in the folder, whose suffix may be in capitals; the usual path where there is none."""
    there = files_in(folder, (suffix,))
    return lambda name: there.get(name, [folder / f"{name}{suffix}"])[-1]
