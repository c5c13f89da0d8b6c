"""One image or mask file: what is allowed of it, and reading it.

An image has 8 bits a channel: grey, RGB, or a palette without transparency. A mask holds class numbers: a PNG of mode
P or of 8-bit L, or a .npy of whole numbers in two dimensions. Pixels are taken as they are stored; an EXIF rotation is
not applied, as in torchvision's datasets. Images are squashed to a square, bicubic and antialiased; masks by nearest.

H and W are the sides of a file's image, S the side that it is brought to, C its channels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

VOID = 255  # the mask value that is no class
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")  # PIL knows dozens, some of which start other programs
PNG_DEPTH = 24  # the byte of a PNG that holds its bits a channel
IMAGE_RULE = "images must be 8-bit grey (L), RGB or palette (P), without transparency"
MASK_RULE = "masks must hold class numbers, as a PNG of mode P or 8-bit L, or as .npy"
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # what PIL raises

Mask = NDArray[np.uint8]


class Unusable(Exception):
    """What is wrong with one file; the text goes behind its path."""


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


def numbers_in(mask: Mask) -> list[int]:
    """The numbers that occur in a mask, sorted."""
    return np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()


def one_line(error: Exception) -> str:
    """What the error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


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
        raise Unusable(f"cannot be read: {one_line(error).replace(repr(str(path)), 'it')}") from None
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
        raise Unusable(f"cannot be read as .npy: {one_line(error)}") from None
    if values.ndim != 2 or not values.size:
        raise Unusable(f"has the shape {values.shape}; a mask has two dimensions, (H, W)")
    # Whole numbers stored as floats are let through: class 3.0 is class 3.
    if values.dtype.kind not in "iuf" or not np.array_equal(values, np.trunc(values)):
        raise Unusable(f"holds {values.dtype} values that are no whole numbers; {MASK_RULE}")
    if values.min() < 0 or values.max() > VOID:
        raise Unusable(f"holds numbers from {values.min()} to {values.max()}; class numbers are 0 to {VOID}")
    return values.astype(np.uint8)
