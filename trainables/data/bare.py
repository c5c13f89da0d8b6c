"""A folder of images without masks, at any depth, whatever their names.

    FOLDER/**/*.{png,jpg,jpeg,bmp,webp}
    FOLDER/train/**, FOLDER/held_out/**     optional, both or neither: the two splits

Suffixes may be in capitals; links are followed. Without the two folders a fifth of the images are held out and the
others train: in the order of a hash of their contents, once and for all. So neither names nor seeds nor machines
decide, and copies of an image are in one split.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainables.data.image_file import IMAGE_SUFFIXES, one_line
from trainables.data.listing import Listing, Offenders, fifths, readable, sha256_of
from trainables.data.survey import counted

SPLIT_SEED = 20240526  # fixed: the splits are the same for every seed, study and machine
SPLITS = ("train", "held_out")
FEWEST = 2  # distinct images that can be split in two


def listing_of(folder: Path, within: Path, name: str) -> Listing:
    """The images below `within`, split; none where there are none.

    Args:
        folder: that the dataset's files are named from.
        within: `folder`, or a part of it.
        name: of the dataset.
    """
    listing = Listing(name, folder, channels=None)
    named = [within / split for split in SPLITS]
    given = [part for part in named if part.is_dir()]
    if len(given) == 1:
        (missing,) = set(named) - set(given)
        listing.offenders.add(missing, f"is missing: the folders {' and '.join(SPLITS)} must both be there, or neither")
    files = files_below(within, listing.offenders)
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    others = Counter(path.suffix.lower() for path in files if path.suffix.lower() not in IMAGE_SUFFIXES)
    if others:
        kinds = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in sorted(others.items()))
        listing.remarks.append(f"files that are not read, as they are no images of a kind that is: {kinds}")
    _hash(images, listing)
    if len(given) == 2:
        _split_as_named(images, named, listing)
    else:
        _split(images, listing)
    return listing


def files_below(folder: Path, offenders: Offenders) -> list[Path]:
    """All files at any depth, sorted, but those that begin with a dot or are in such folders."""
    found, seen = list[Path](), set[str]()

    def unreadable(error: OSError) -> None:
        offenders.add(Path(readable(error.filename)), f"cannot be read: {error.strerror}")

    for place, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        found += [] if real in seen else [Path(place) / name for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(found)


def _hash(images: Sequence[Path], listing: Listing) -> None:
    """Hashes each image's content; notes those that cannot be read or named."""
    for path in images:
        name = readable(str(path))
        if name != str(path):
            listing.offenders.add(Path(name), "has a name that is no UTF-8; rename it")
            continue
        try:
            listing.contents[path] = sha256_of(path)
        except OSError as error:
            listing.offenders.add(path, f"cannot be read: {error.strerror or one_line(error)}")


def _split_as_named(images: Sequence[Path], named: list[Path], listing: Listing) -> None:
    listing.train, listing.bare = (
        [path for path in images if path in listing.contents and path.is_relative_to(part)] for part in named
    )
    for part, paths in zip(named, (listing.train, listing.bare), strict=True):
        if not paths:
            listing.offenders.add(part, "holds no image")
    if outside := len(images) - len(listing.train) - len(listing.bare):
        listing.remarks.append(f"{counted(outside, 'image')} in neither {' nor '.join(SPLITS)}, and not read")


def _split(images: Sequence[Path], listing: Listing) -> None:
    hashed = [path for path in images if path in listing.contents]
    distinct = len(set(listing.contents.values()))
    if 0 < distinct < FEWEST and not listing.offenders:
        listing.offenders.add(listing.folder, f"holds {distinct} distinct images; two splits need at least {FEWEST}")
    held_out, train = fifths([listing.contents[path] for path in hashed], 1, SPLIT_SEED)
    listing.train, listing.bare = [hashed[i] for i in train], [hashed[i] for i in held_out]
