"""The files of a listed dataset, read: its facts, its images and its masks.

S is the side that images and masks are brought to, C the images' channels.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data import About, Arrays, Examined
from trainables.data.cache import cached
from trainables.data.image_file import (
    UPRIGHT,
    VOID,
    Head,
    Mask,
    Unusable,
    image_head,
    mask_head,
    nearest,
    numbers_in,
    read_image,
    read_mask,
)
from trainables.data.listing import Contents, Listing, Pair, sha256_of
from trainables.data.survey import survey
from trainables.sections import Data

VERSION = 1  # of the reading, here and in `image_file`; a part of the fingerprint


def about(listing: Listing) -> About:
    """The facts of the listed dataset. Of the images the heads are read, of the masks only what must be.

    Raises:
        DataError: with all files whose heads show that they cannot be used.
    """
    return _about(listing, _check_heads(listing))


def read(listing: Listing, data: Data) -> tuple[About, Arrays]:
    """The facts of the listed dataset, and its images and masks at `data.image_size`.

    Every file's content is hashed once. The images and masks are decoded once and kept in the cache folder.

    Raises:
        DataError: with all files that cannot be used.
    """
    channels, size = _check_heads(listing), data.image_size
    if listing.offenders:
        _decoded(listing, channels, size)  # for the offenders that only decoding finds
    fingerprint = _fingerprint(listing)
    arrays = cached(f"{listing.name}-{size}-{fingerprint}", lambda: _decoded(listing, channels, size))
    return _about(listing, channels, fingerprint), arrays


def examine(listing: Listing, data: Data, images: bool) -> Examined:
    """The facts of the listed dataset and what its masks hold, for one pass through the files.

    Args:
        images: whether they are wanted too, as `read` gives them.

    Raises:
        DataError: with all files that cannot be used, and masks that cannot be class numbers.
    """
    channels, size = _check_heads(listing), data.image_size
    if listing.offenders and images:
        _decoded(listing, channels, size)
    listing.refuse()
    contents = _contents(listing)
    fingerprint = _fingerprint(listing, contents)
    found = survey(listing, contents, fingerprint, lambda mask: _named_only(mask, listing))
    name = f"{listing.name}-{size}-{fingerprint}"
    arrays = cached(name, lambda: _decoded(listing, channels, size)) if images else None
    return Examined(_about(listing, channels, fingerprint), arrays, found)


def _about(listing: Listing, channels: int, fingerprint: str | None = None) -> About:
    """The facts.

    Args:
        fingerprint: where it is known; computed where it is not.
    """
    names = listing.class_names or (_numbered(listing) if listing.pairs else ())
    listing.refuse()
    return About(
        image_channels=channels,
        class_names=names,
        train_images=len(listing.train),
        label_images=len(listing.labels),
        held_out_images=len(listing.held_out) + len(listing.bare),
        fingerprint=fingerprint or _fingerprint(listing),
        ignore_index=listing.ignore_index,
        unscored_classes=listing.unscored_classes,
    )


def _check_heads(listing: Listing) -> int:
    """The images' channels; notes every file whose head shows that it cannot be used."""
    modes, sizes = set(), {}
    for path in listing.images:
        with listing.offenders.of(path):
            head = _noted(path, image_head(path), listing)
            sizes[path] = head.size
            modes.add(head.mode)
            if listing.square and len(set(sizes[path])) > 1:
                raise Unusable(f"is {_by(sizes[path])} pixels; images must be square")
    for pair in listing.pairs + listing.unread:
        with listing.offenders.of(pair.mask):
            size = _noted(pair.mask, mask_head(pair.mask), listing).size
            if listing.square and len(set(size)) > 1:
                raise Unusable(f"is {_by(size)} pixels; masks must be square")
            if not listing.square and size != sizes.get(pair.image, size):
                turned = ", turned as EXIF says: masks must be as displayed" if pair.image in listing.turned else ""
                raise Unusable(f"is {_by(size)} pixels, but its image {_by(sizes[pair.image])}{turned}")
    return listing.channels or (1 if modes == {"L"} else 3)


def _noted(path: Path, head: Head, listing: Listing) -> Head:
    if head.orientation != UPRIGHT:
        listing.turned[path] = head.orientation
    return head


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
        images([pair.image for pair in held_out] + listing.bare),
        masks(held_out),
    )
    for pair in listing.unread:
        with listing.offenders.of(pair.mask):
            _named_only(read_mask(pair.mask), listing)
    if not listing.offenders and labels and (found.label_masks == listing.ignore_index).all():
        listing.offenders.add(listing.folder, "no mask of the label pool holds a class")
    listing.refuse()
    return found


def _named_only(mask: Mask, listing: Listing) -> Mask:
    known = range(VOID if listing.class_names is None else len(listing.class_names))
    strange = [number for number in numbers_in(mask) if number not in known and number != listing.ignore_index]
    if strange:
        raise Unusable(f"holds the numbers {strange}, but the classes are 0 to {len(known) - 1}")
    return mask


def _numbered(listing: Listing) -> tuple[str, ...]:
    """Names for classes that have none, by the masks of both splits."""
    highest = -1
    for pair in listing.pairs:
        with listing.offenders.of(pair.mask):
            numbers = numbers_in(read_mask(pair.mask))
            highest = max([highest, *(number for number in numbers if number != listing.ignore_index)])
    if highest < 0:
        listing.offenders.add(listing.folder, "no mask holds a class")
    return tuple(f"class {number}" for number in range(highest + 1))


def _fingerprint(listing: Listing, contents: Contents | None = None) -> str:
    """SHA-256 over the names and contents of all files, which split each is in, and the classes.

    Data of before orientations were applied keep theirs where nothing is turned.
    """
    facts = [VERSION, listing.name, listing.class_names, listing.ignore_index]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for (split, path), content in (contents or _contents(listing)).items():
        turned = [listing.turned[path]] if path in listing.turned else []
        digest.update(json.dumps([split, path.relative_to(listing.folder).as_posix(), content, *turned]).encode())
    return digest.hexdigest()


def _contents(listing: Listing) -> Contents:
    """The SHA-256 of each file that is a part of the dataset, in a fixed order."""
    files = {"train": listing.train}
    for split, pairs in (("labels", listing.labels), ("held out", listing.held_out)):
        files[split] = [path for pair in pairs for path in (pair.image, pair.mask)]
    files["held out"] += listing.bare
    known = listing.contents
    return {(split, path): known.get(path) or sha256_of(path) for split, paths in files.items() for path in paths}


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
