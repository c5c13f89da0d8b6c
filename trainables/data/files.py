"""Datasets of image files and mask files: what is allowed of them, their facts, and reading them.

An image has 8 bits a channel: grey, RGB, or a palette without transparency. A mask holds class numbers: a PNG of mode
P or of 8-bit L, or a .npy of whole numbers in two dimensions. Pixels are taken as they are stored; an EXIF rotation is
not applied, as in torchvision's datasets. Images are squashed to a square, bicubic and antialiased; masks by nearest.

A check goes on to the last file: `DataError` lists all offenders, not the first.

H and W are the sides of a file's image, S the side that it is brought to, C its channels.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageFile

from trainables.config import Data
from trainables.data import About, Arrays, DataError
from trainables.data.cache import cached

VERSION = 1  # of the reading below; a part of the fingerprint
SHOWN = 20  # lines of offenders
VOID = 255
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")  # PIL knows dozens, some of which start other programs
PNG_DEPTH = 24  # the byte of a PNG that holds its bits a channel
IMAGE_RULE = "images must be 8-bit grey (L), RGB or palette (P), without transparency"
MASK_RULE = "masks must hold class numbers, as a PNG of mode P or 8-bit L, or as .npy"
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # what PIL raises

Mask = NDArray[np.uint8]


class Unusable(Exception):
    """What is wrong with one file; the text goes behind its path."""


class Offenders:
    """The files that cannot be used, each line once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, path: Path, what: str) -> None:
        """Notes what is wrong with the file at `path`."""
        self._lines[f"{path}: {what}"] = None

    @contextmanager
    def of(self, path: Path) -> Iterator[None]:
        """Notes the `Unusable` that ends the block, and goes on behind it."""
        try:
            yield
        except Unusable as error:
            self.add(path, str(error))

    def refuse(self, problem: str) -> None:
        """Raises `DataError` if anything was noted."""
        if not self:
            return
        lines = list(self._lines)
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise DataError(problem, lines[:SHOWN] + more)


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    image: Path
    mask: Path


@dataclass
class Listing:
    """The files of a dataset, and what was found wrong while they were listed.

    Args:
        name: of the dataset.
        folder: that all the files are in.
        class_names: by class number; None for "class 0" ... up to the highest number in the masks.
        channels: of the images; None for 1 where all of them are grey, else 3.
        square: images and masks must be square, but need not be of one size; else a mask has its image's size.
        ignore_index: the mask value that is no class.
        unscored_classes: trained on, but no part of the mIoU.
        unread: pairs of the DDPM's images, whose masks nothing reads: they are looked at like the others.
    """

    name: str
    folder: Path
    train: list[Path] = field(default_factory=list)
    labels: list[Pair] = field(default_factory=list)
    held_out: list[Pair] = field(default_factory=list)
    class_names: tuple[str, ...] | None = None
    channels: int | None = 3
    square: bool = False
    ignore_index: int = VOID
    unscored_classes: tuple[int, ...] = ()
    offenders: Offenders = field(default_factory=Offenders)
    unread: list[Pair] = field(default_factory=list)

    @property
    def pairs(self) -> list[Pair]:
        """Those of both splits that have masks."""
        return self.labels + self.held_out

    @property
    def images(self) -> list[Path]:
        """Those of all splits."""
        return self.train + [pair.image for pair in self.pairs]

    def refuse(self) -> None:
        """Raises `DataError` if anything is wrong so far."""
        self.offenders.refuse(f"the {self.name} data in {self.folder} cannot be used:")


def about(listing: Listing) -> About:
    """The facts of the listed dataset. Of the images the heads are read, of the masks only what must be.

    Raises:
        DataError: with all files whose heads show that they cannot be used.
    """
    channels = _check_heads(listing)
    names = listing.class_names or _numbered(listing)
    listing.refuse()
    return About(
        image_channels=channels,
        class_names=names,
        train_images=len(listing.train),
        label_images=len(listing.labels),
        held_out_images=len(listing.held_out),
        fingerprint=_fingerprint(listing),
        ignore_index=listing.ignore_index,
        unscored_classes=listing.unscored_classes,
    )


def arrays(listing: Listing, data: Data) -> Arrays:
    """The images and masks of the listed dataset at `data.image_size`, decoded once and kept in the cache folder.

    Raises:
        DataError: with all files that cannot be used.
    """
    channels, size = _check_heads(listing), data.image_size
    if listing.offenders:
        _decoded(listing, channels, size)  # for the offenders that only decoding finds
    return cached(f"{listing.name}-{size}-{_fingerprint(listing)}", lambda: _decoded(listing, channels, size))


def names_in(path: Path, offenders: Offenders) -> list[str]:
    """The names in a split's file, one a line."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        offenders.add(path, f"cannot be read: {_one_line(error)}")
        return []
    if not names:
        offenders.add(path, "names no image")
    return names


def check_disjoint(splits: dict[Path, list[str]], offenders: Offenders) -> None:
    """Notes every name that is listed twice.

    Args:
        splits: the names in each split's file.
    """
    first: dict[str, Path] = {}
    for path, names in splits.items():
        for name in names:
            if name in first:
                offenders.add(path, f"{name} is already in {first[name].name}; an image is in one split, once")
            first.setdefault(name, path)


def images_in(folder: Path, offenders: Offenders) -> dict[str, Path]:
    """The image files of a folder by their stems, sorted."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                offenders.add(path, f"has the same stem as {found[path.stem].name}")
            found.setdefault(path.stem, path)
    return found


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that looks random and depends on nothing but `seed` and each name, on any machine."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def class_names_in(paths: Iterable[Path], offenders: Offenders) -> tuple[str, ...] | None:
    """The class names in the one of the YAML files that is there; None without one, or with an offence.

    Args:
        paths: where it may be. It holds a list of names, or a mapping from class number to name; 255 is void.
    """
    there = [path for path in paths if path.exists()]
    for path in there[1:]:
        offenders.add(path, f"is a second list of classes, beside {there[0]}")
    for path in there[:1]:
        with offenders.of(path):
            return _class_names(path)
    return None


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise Unusable(f"cannot be read as YAML: {_one_line(error)}") from None
    named = dict(enumerate(content)) if isinstance(content, list) else content
    if not isinstance(named, dict) or not all(type(number) is int for number in named):
        raise Unusable("must be a list of class names, or a mapping from class number to name")
    names = [named[number] for number in sorted(named) if number != VOID]
    if not names or sorted(set(named) - {VOID}) != list(range(len(names))) or len(names) > VOID:
        raise Unusable(f"must name the classes 0, 1, ... without a gap, at most {VOID}, but has {sorted(named)}")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise Unusable(f"a class name must be text, in quotes where YAML takes it for something else: {name!r}")
    if len(set(names)) < len(names):
        raise Unusable(f"must not repeat a name, but has {names}")
    return tuple(names)


def image_head(path: Path) -> tuple[str, tuple[int, int]]:
    """An image's mode and its (W, H), by its head.

    Raises:
        Unusable: no image, or one of a kind that is not allowed.
    """
    with _opened(path) as image:
        what = _kind(image, path)
        if "transparency" in image.info:
            raise Unusable(f"is {what} with transparency; {IMAGE_RULE}")
        if image.mode not in ("L", "RGB", "P") or what.startswith("16-bit"):
            raise Unusable(f"is {what}; {IMAGE_RULE}")
        return image.mode, image.size


def read_image(path: Path, channels: int, size: int) -> NDArray[np.uint8]:
    """An image squashed to `size`, (C, S, S).

    Raises:
        Unusable: no image, one of a kind that is not allowed, or a part of one.
    """
    image_head(path)
    with _opened(path) as image:
        pixels = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(pixels).reshape(size, size, channels).transpose(2, 0, 1)


def mask_size(path: Path) -> tuple[int, int]:
    """A mask's (W, H), by its head.

    Raises:
        Unusable: no mask, or one of a kind that is not allowed.
    """
    if path.suffix == ".npy":
        height, width = _read_npy(path).shape
        return width, height
    with _opened(path) as image:
        what = _kind(image, path)
        if image.mode == "RGB":
            raise Unusable(f"is {what}; {MASK_RULE}: turn each colour into its class's number")
        # PIL stretches grey of fewer bits to 0 ... 255, and the class numbers with it.
        if image.mode != "P" and what != "8-bit L":
            raise Unusable(f"is {what}; {MASK_RULE}")
        return image.size


def read_mask(path: Path) -> Mask:
    """A mask as it is stored, (H, W).

    Raises:
        Unusable: no mask, one of a kind that is not allowed, or a part of one.
    """
    if path.suffix == ".npy":
        return _read_npy(path)
    mask_size(path)
    with _opened(path) as image:
        return np.array(image)


def nearest(mask: Mask, size: int) -> Mask:
    """The mask at (S, S): each pixel takes the value of the one that its centre falls in."""
    rows, columns = ((2 * np.arange(size) + 1) * side // (2 * size) for side in mask.shape)
    return mask[np.ix_(rows, columns)]


def _check_heads(listing: Listing) -> int:
    """The images' channels; notes every file whose head shows that it cannot be used."""
    modes, sizes = set(), {}
    for path in listing.images:
        with listing.offenders.of(path):
            mode, sizes[path] = image_head(path)
            modes.add(mode)
            if listing.square and len(set(sizes[path])) > 1:
                raise Unusable(f"is {_by(sizes[path])} pixels; images must be square")
    for pair in listing.pairs + listing.unread:
        with listing.offenders.of(pair.mask):
            size = mask_size(pair.mask)
            if listing.square and len(set(size)) > 1:
                raise Unusable(f"is {_by(size)} pixels; masks must be square")
            if not listing.square and size != sizes.get(pair.image, size):
                raise Unusable(f"is {_by(size)} pixels, but its image {_by(sizes[pair.image])}")
    return listing.channels or (1 if modes == {"L"} else 3)


def _decoded(listing: Listing, channels: int, size: int) -> Arrays:
    def images(paths: list[Path]) -> NDArray[np.uint8]:
        made = np.zeros((len(paths), channels, size, size), np.uint8)
        for i, path in enumerate(paths):
            with listing.offenders.of(path):
                made[i] = read_image(path, channels, size)
        return made

    def masks(pairs: list[Pair]) -> Mask:
        made = np.zeros((len(pairs), size, size), np.uint8)
        for i, pair in enumerate(pairs):
            with listing.offenders.of(pair.mask):
                made[i] = nearest(_named_only(read_mask(pair.mask), listing), size)
        return made

    labels, held_out = listing.labels, listing.held_out
    found = Arrays(
        images(listing.train),
        images([pair.image for pair in labels]),
        masks(labels),
        images([pair.image for pair in held_out]),
        masks(held_out),
    )
    for pair in listing.unread:
        with listing.offenders.of(pair.mask):
            _named_only(read_mask(pair.mask), listing)
    if not listing.offenders and (found.label_masks == listing.ignore_index).all():
        listing.offenders.add(listing.folder, "no mask of the label pool holds a class")
    listing.refuse()
    return found


def _named_only(mask: Mask, listing: Listing) -> Mask:
    known = range(VOID if listing.class_names is None else len(listing.class_names))
    strange = [number for number in _numbers(mask) if number not in known and number != listing.ignore_index]
    if strange:
        raise Unusable(f"holds the numbers {strange}, but the classes are 0 to {len(known) - 1}")
    return mask


def _numbered(listing: Listing) -> tuple[str, ...]:
    """Names for classes that have none, by the masks of both splits."""
    highest = -1
    for pair in listing.pairs:
        with listing.offenders.of(pair.mask):
            numbers = _numbers(read_mask(pair.mask))
            highest = max([highest, *(number for number in numbers if number != listing.ignore_index)])
    if highest < 0:
        listing.offenders.add(listing.folder, "no mask holds a class")
    return tuple(f"class {number}" for number in range(highest + 1))


def _numbers(mask: Mask) -> list[int]:
    """The numbers that occur in a mask, sorted."""
    return np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()


def _fingerprint(listing: Listing) -> str:
    """SHA-256 over the names and contents of all files, which split each is in, and the classes."""
    facts = [VERSION, listing.name, listing.class_names, listing.ignore_index]
    digest = hashlib.sha256(json.dumps(facts).encode())
    images = {"train": listing.train}
    for split, pairs in (("labels", listing.labels), ("held out", listing.held_out)):
        images[split] = [path for pair in pairs for path in (pair.image, pair.mask)]
    for split, paths in images.items():
        for path in paths:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(json.dumps([split, path.relative_to(listing.folder).as_posix(), content]).encode())
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file as an image that is not yet decoded. What PIL raises in the block is the file's fault."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except FileNotFoundError:
        raise Unusable("is missing") from None
    except BROKEN as error:
        raise Unusable(f"cannot be read: {_one_line(error).replace(repr(str(path)), 'it')}") from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _kind(image: Image.Image, path: Path) -> str:
    """The image's kind in words, "8-bit RGB" of a PNG. PIL alone would not tell 16-bit RGB from 8-bit."""
    if image.format != "PNG":
        return f"{image.format} of mode {image.mode}"
    with path.open("rb") as file:
        return f"{file.read(PNG_DEPTH + 1)[PNG_DEPTH]}-bit {image.mode}"


def _read_npy(path: Path) -> Mask:
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise Unusable("is missing") from None
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, TokenError) as error:
        raise Unusable(f"cannot be read as .npy: {_one_line(error)}") from None
    if values.ndim != 2 or not values.size:
        raise Unusable(f"has the shape {values.shape}; a mask has two dimensions, (H, W)")
    # Whole numbers stored as floats are let through: class 3.0 is class 3.
    if values.dtype.kind not in "iuf" or not np.array_equal(values, np.trunc(values)):
        raise Unusable(f"holds {values.dtype} values that are no whole numbers; {MASK_RULE}")
    if values.min() < 0 or values.max() > VOID:
        raise Unusable(f"holds numbers from {values.min()} to {values.max()}; class numbers are 0 to {VOID}")
    return values.astype(np.uint8)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
