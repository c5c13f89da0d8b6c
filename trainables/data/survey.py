"""What the files of a listed dataset hold, for a person to look at: nothing here enters a key or a figure.

Class numbers cannot be told from other numbers by looking at them, but masks that were spoilt on their way can: a
resize that interpolates leaves numbers between classes, which fill no 2x2 pixels, and images of a palette each number
one colour differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.cache import keep, kept
from trainables.data import Survey
from trainables.data.image_file import VOID, Mask, Unusable, numbers_in, palette_of, read_mask
from trainables.data.listing import Contents, Listing, Pair

VERSION = 1  # of what is kept in the cache folder
SCATTERED = 0.1  # of a number's pixels in 2x2 pixels of it: a class has more, but for the thinnest things
FEWEST_SCATTERED = 8  # numbers of a mask that are scattered, and more than are not: no mask of classes has as many
RAMPS = 0.2  # of a mask's changes, those by way of a number between; of CamVid's masks at 16x16 pixels 0.06
VOC_VOID = (224, 224, 192)  # 255 in PASCAL VOC's palette
SHOWN = 3  # examples in a remark

Colour = tuple[int, ...]


def survey(listing: Listing, contents: Contents, fingerprint: str, check: Callable[[Mask], object]) -> Survey:
    """What the files hold. It is kept in the cache folder, so that the masks are gone through once.

    Args:
        contents: the SHA-256 of each file.
        fingerprint: over all of them.
        check: raises `Unusable` for a mask with numbers that are no classes of the dataset.

    Raises:
        DataError: masks that cannot be class numbers.
    """
    name = f"surveys/{listing.name}-{fingerprint}-{VERSION}.json"
    found = _kept(name)
    if found is None:
        found = _survey(listing, contents, check)
        keep(name, asdict(found))
    return replace(found, remarks=(*found.remarks, *listing.remarks))


def _kept(name: str) -> Survey | None:
    try:
        return Survey(**{field: tuple(value) for field, value in kept(name).items()})
    except (TypeError, AttributeError):  # not there, or damaged
        return None


def _survey(listing: Listing, contents: Contents, check: Callable[[Mask], object]) -> Survey:
    masks, palettes = Masks(listing.ignore_index), _Palettes(listing)

    def pixels_of(pairs: Iterable[Pair]) -> tuple[int, ...]:
        total = np.zeros(VOID + 1, np.int64)
        for pair in pairs:
            with listing.offenders.of(pair.mask):
                mask = read_mask(pair.mask)
                total += np.bincount(mask.ravel(), minlength=VOID + 1)
                masks.look_at(mask)
                palettes.look_at(pair.mask, numbers_in(mask))
                check(mask)
        return tuple(total.tolist())

    pixels = pixels_of(listing.labels), pixels_of(listing.held_out)
    listing.refuse()
    both = np.flatnonzero(np.sum(pixels, axis=0)).tolist()
    classes = [number for number in both if number != listing.ignore_index]
    remarks = [*_turned(listing), *_twins(listing, contents), *masks.remarks(), *palettes.remarks()]
    return Survey(*pixels, (*remarks, *(gaps(classes) if listing.class_names is None else ())))


class Masks:
    """Whether masks hold class numbers, or what an interpolation made of them.

    Args:
        ignore_index: the mask value that is no class.
    """

    def __init__(self, ignore_index: int) -> None:
        self.ignore_index, self.ramps, self.changes = ignore_index, 0, 0

    def look_at(self, mask: Mask) -> None:
        """Counts what interpolation leaves; `Unusable` where nearly all numbers of the mask are of it."""
        numbers = [number for number in numbers_in(mask) if number != self.ignore_index]
        ramps, changes = _ramps(mask.astype(np.int16))
        self.ramps, self.changes = self.ramps + ramps, self.changes + changes
        if len(numbers) < FEWEST_SCATTERED:
            return
        scattered = _scattered(mask, numbers)
        if len(scattered) >= max(FEWEST_SCATTERED, len(numbers) / 2):
            first = ", ".join(map(str, scattered[:12]))
            raise Unusable(
                f"holds {len(numbers)} numbers, {len(scattered)} of which ({first}, ...) fill no area, so they are no "
                "classes: masks must be resized by nearest, and never kept as JPEG"
            )

    def remarks(self) -> Iterator[str]:
        """A warning where the masks look interpolated, if only between classes that there are."""
        if self.changes and self.ramps / self.changes > RAMPS:
            yield (
                f"the masks step from class to class by the numbers between, {self.ramps / self.changes:.0%} of the "
                "places: if they were resized by interpolation, classes stand on borders where they are not"
            )


class _Palettes:
    """Whether one number has one colour in all masks, and one colour one number."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.numbers: dict[Colour, tuple[int, Path]] = {}
        self.colours: dict[int, tuple[Colour, Path]] = {}
        self.differing: dict[int, tuple[Colour, Path]] = {}

    def look_at(self, path: Path, numbers: Iterable[int]) -> None:
        """Notes the colours of the mask's numbers; `Unusable` where a colour is another number than before."""
        palette = palette_of(path)
        for number in numbers:
            if number == self.listing.ignore_index or number not in palette:
                continue
            colour = palette[number]
            other, first = self.numbers.setdefault(colour, (number, path))
            if other != number:
                raise Unusable(
                    f"has number {number} in the colour {colour}, which is number {other} in {first.name}: each mask "
                    "has a palette of its own, so numbers are no classes; give all masks one palette, or write the "
                    "class numbers as 8-bit L or .npy"
                )
            if self.colours.setdefault(number, (colour, path))[0] != colour:
                self.differing.setdefault(number, (colour, path))

    def remarks(self) -> Iterator[str]:
        """A warning where masks differ in the colours of a number, or one is void by its colour."""
        if VOC_VOID in self.numbers:
            number, path = self.numbers[VOC_VOID]
            yield (
                f"number {number} has the colour of PASCAL VOC's void in {path.name}: if it is void, write {VOID} "
                "in its place, or it counts as a class"
            )
        for number, (colour, path) in list(self.differing.items())[:1]:
            before, first = self.colours[number]
            yield (
                f"the masks' palettes differ: number {number} is {before} in {first.name} and {colour} in "
                f"{path.name}; the numbers count, not the colours"
            )


def _ramps(mask: NDArray[np.int16]) -> tuple[int, int]:
    """Neighbours of a pixel that differ, across it or down it: those with the pixel's number between, and all."""
    between = changes = 0
    for a, b, c in ((mask[:, :-2], mask[:, 1:-1], mask[:, 2:]), (mask[:-2], mask[1:-1], mask[2:])):
        changes += int((a != c).sum())
        between += int((((a < b) & (b < c)) | ((a > b) & (b > c))).sum())
    return between, changes


def _scattered(mask: Mask, numbers: Iterable[int]) -> list[int]:
    """Those of the numbers that hardly ever fill 2x2 pixels."""
    first = mask[:-1, :-1]
    squares = (first == mask[1:, :-1]) & (first == mask[:-1, 1:]) & (first == mask[1:, 1:])
    solid = np.zeros(mask.shape, bool)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            solid[rows, columns] |= squares
    there, filling = (np.bincount(values.ravel(), minlength=VOID + 1) for values in (mask, mask[solid]))
    return [number for number in numbers if filling[number] < SCATTERED * there[number]]


def _turned(listing: Listing) -> Iterator[str]:
    if listing.turned:
        files = _some(path.name for path in listing.turned)
        yield (
            f"{counted(len(listing.turned), 'file')} turned as EXIF's orientation says ({files}): "
            "an image's mask must be as the image is displayed"
        )


def _twins(listing: Listing, contents: Contents) -> Iterator[str]:
    """Images that are in more than one split, byte for byte."""
    images = set(listing.images)
    first: dict[str, tuple[str, Path]] = {}
    pairs: dict[tuple[str, str], list[str]] = {}
    for (split, path), content in contents.items():
        if path not in images:
            continue
        other, twin = first.setdefault(content, (split, path))
        if other != split:
            pairs.setdefault((other, split), []).append(f"{path.name} is {twin.name}")
    for (other, split), found in pairs.items():
        learned = ": they are scored and learned from" if "held out" in (other, split) else ""
        yield f"{counted(len(found), 'image')} byte for byte in both '{other}' and '{split}' ({_some(found)}){learned}"


def gaps(classes: list[int]) -> Iterator[str]:
    """A warning of classes that are counted for the sake of a higher number alone.

    Args:
        classes: the numbers that occur, sorted.
    """
    if classes and 2 * len(classes) < classes[-1] + 1:
        yield (
            f"{classes[-1] + 1} classes are counted, up to the highest number, but only {len(classes)} occur "
            f"({_some(map(str, classes), 12)}): number them 0, 1, 2, ..., or name all in classes.yaml"
        )


def _some(names: Iterable[str], shown: int = SHOWN) -> str:
    listed = list(names)
    return ", ".join(listed[:shown]) + (", ..." if len(listed) > shown else "")


def counted(number: int, noun: str) -> str:
    """Such as "1 file is" or "2 files are"."""
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"
