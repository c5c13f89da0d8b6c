"""One image or mask file: what is allowed of it, and reading it.

An image has 8 bits a channel: grey, RGB, or a palette without transparency. A mask holds class numbers: a PNG of mode
P or of 8-bit L, or a .npy of whole numbers in two dimensions. Both are taken as they are displayed: turned as their own
EXIF orientation says. Images are squashed to a square, bicubic and antialiased; masks by nearest.

H and W are the sides of a file's image, S the side that it is brought to, C its channels.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from trainables.inputs import instead

VOID = 255  # the mask value that is no class
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")  # in capitals too, as of masks
MASK_SUFFIXES = (".png", ".npy")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # PIL knows dozens, some of which start other programs
PNG_DEPTH = 24  # the byte of a PNG that holds its bits a channel
PNG_EXIF = (
    b"eXIf",
    b"Raw profile type exif",
    b"XML:com.adobe.xmp",
)  # what may hold an orientation, after the pixels too
UPRIGHT = 1
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF's orientation
ON_ITS_SIDE = 5  # the first orientation that swaps width and height
IMAGE_RULE = "images must be 8-bit grey (L), RGB or palette (P), without transparency"
MASK_RULE = "masks must hold class numbers, as a PNG of mode P or 8-bit L, or as .npy"
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # what PIL raises

Mask = NDArray[np.uint8]


class Unusable(Exception):
    """What is wrong with one file; the text goes behind its path."""


class Head(NamedTuple):
    """What a file's head tells.

    Args:
        mode: as PIL names it; "" of a .npy.
        size: (W, H), as displayed.
        orientation: EXIF's, 1 to 8; 1: as stored.
    """

    mode: str
    size: tuple[int, int]
    orientation: int = UPRIGHT


def image_head(path: Path) -> Head:
    """An image's head.

    Raises:
        Unusable: no image, or one of a kind that is not allowed.
    """
    with _opened(path) as image:
        what = _kind(image, path)
        if "transparency" in image.info:
            raise Unusable(f"is {what} with transparency; {IMAGE_RULE}")
        if image.mode not in ("L", "RGB", "P") or what.startswith("16-bit"):
            raise Unusable(f"is {what}; {IMAGE_RULE}")
        return _head(image, path)


def read_image(path: Path, channels: int, size: int) -> NDArray[np.uint8]:
    """An image squashed to `size`, (C, S, S).

    Raises:
        Unusable: no image, one of a kind that is not allowed, or a part of one.
    """
    image_head(path)
    with _opened(path) as image:
        return squashed(_displayed(image, _orientation(image, path)), channels, size)


def squashed(image: Image.Image, channels: int, size: int) -> NDArray[np.uint8]:
    """The image at `size`, (C, S, S)."""
    pixels = image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(pixels).reshape(size, size, channels).transpose(2, 0, 1)


def mask_head(path: Path) -> Head:
    """A mask's head.

    Raises:
        Unusable: no mask, or one of a kind that is not allowed.
    """
    if _is_npy(path):
        height, width = _read_npy(path).shape
        return Head("", (width, height))
    with _opened(path) as image:
        what = _kind(image, path)
        if image.mode == "RGB":
            raise Unusable(f"is {what}; {MASK_RULE}: turn each colour into its class's number")
        # PIL stretches grey of fewer bits to 0 ... 255, and the class numbers with it.
        if image.mode != "P" and what != "8-bit L":
            raise Unusable(f"is {what}; {MASK_RULE}")
        return _head(image, path)


def read_mask(path: Path) -> Mask:
    """A mask as it is displayed, (H, W).

    Raises:
        Unusable: no mask, one of a kind that is not allowed, or a part of one.
    """
    if _is_npy(path):
        return _read_npy(path)
    orientation = mask_head(path).orientation
    with _opened(path) as image:
        return np.array(_displayed(image, orientation))


def nearest(mask: Mask, size: int) -> Mask:
    """The mask at (S, S): each pixel takes the value of the one that its centre falls in."""
    rows, columns = ((2 * np.arange(size) + 1) * side // (2 * size) for side in mask.shape)
    return mask[np.ix_(rows, columns)]


def numbers_in(mask: Mask) -> list[int]:
    """The numbers that occur in a mask, sorted."""
    return np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()


def palette_of(path: Path) -> dict[int, tuple[int, ...]]:
    """The colours of a mask's numbers, (R, G, B), but those that stand for several numbers; {} without a palette.

    Raises:
        Unusable: as `read_mask`.
    """
    if _is_npy(path):
        return {}
    with _opened(path) as image:
        flat = image.getpalette("RGB") or []
    colours = [tuple(flat[i : i + 3]) for i in range(0, len(flat), 3)]
    times = Counter(colours)
    return {number: colour for number, colour in enumerate(colours) if times[colour] == 1}


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
        raise Unusable(f"cannot be read: {instead(path, one_line(error).replace(repr(str(path)), 'it'))}") from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _head(image: Image.Image, path: Path) -> Head:
    (width, height), orientation = image.size, _orientation(image, path)
    return Head(image.mode, (height, width) if orientation >= ON_ITS_SIDE else (width, height), orientation)


def _orientation(image: Image.Image, path: Path) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none or where no program can read it."""
    if image.format == "PNG" and not any(mark in path.read_bytes() for mark in PNG_EXIF):
        return UPRIGHT  # PIL would decode the whole of it for what may come after the pixels
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # PIL raises many; who displays the image ignores what cannot be read
        return UPRIGHT
    return found if found in TURNS else UPRIGHT


def _displayed(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == UPRIGHT else image.transpose(TURNS[orientation])


def _is_npy(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


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
        raise Unusable(f"cannot be read as .npy: {instead(path, one_line(error))}") from None
    if values.ndim != 2 or not values.size:
        raise Unusable(f"has the shape {values.shape}; a mask has two dimensions, (H, W)")
    # Whole numbers stored as floats are let through: class 3.0 is class 3.
    if values.dtype.kind not in "iuf" or not np.array_equal(values, np.trunc(values)):
        raise Unusable(f"holds {values.dtype} values that are no whole numbers; {MASK_RULE}")
    if values.min() < 0 or values.max() > VOID:
        raise Unusable(f"holds numbers from {values.min()} to {values.max()}; class numbers are 0 to {VOID}")
    return values.astype(np.uint8)
