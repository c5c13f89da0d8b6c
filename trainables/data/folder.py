"""A folder of one's own images, with masks or without.

    ROOT/folder/images/STEM.{png,jpg,jpeg,bmp,webp}
    ROOT/folder/masks/STEM.png or .npy                  class numbers; 255 is void
    ROOT/folder/classes.yaml or .yml                    optional: the classes' names
    ROOT/folder/{train,labels,held_out}.txt             optional, all three or none: the stems of the three splits

Names and suffixes may be in capitals.

Images that train.txt names need no masks. Without the split files, 60 % of the images train the DDPM, 20 % are the
label pool and 20 % are held out, at random once and for all. The images have one channel where all of them are grey,
else three.

Without the folder masks and the split files the images have no masks: those in ROOT/folder/images or, where there is no
such folder, in ROOT/folder, as `bare` says. ROOT itself will do for ROOT/folder. ROOT/folder/*.npz hold arrays in
place of files, as `npz` says; one such file will do for ROOT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from trainables.cache import cache_folder
from trainables.data import About, Arrays, DataError, Examined, bare, npz, reading
from trainables.data.image_file import IMAGE_SUFFIXES, MASK_SUFFIXES
from trainables.data.listing import (
    CLASS_FILES,
    Listing,
    Offenders,
    Pair,
    check_disjoint,
    class_names_in,
    files_in,
    images_in,
    names_in,
    readable,
    shuffled,
    spelled,
)
from trainables.sections import Data

SPLIT_SEED = 20240526  # fixed: the splits are the same for every seed, study and machine
SPLIT_FILES = ("train.txt", "labels.txt", "held_out.txt")
FEWEST = 3  # images that can be split in three
OTHER_CLASS_FILES = ("classes.txt", "classes.json", "classes.csv", "classes.names", "class_names.txt", "labelmap.txt")


def about(data: Data, root: Path | None = None) -> About:
    """The facts of the dataset: the same at every image size."""
    archives = _archives(root)
    return npz.about(archives) if archives else reading.about(_listing(root))


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """Its facts, and its images and masks squashed to `data.image_size`."""
    archives = _archives(root)
    return npz.read(archives, data) if archives else reading.read(_listing(root), data)


def examine(data: Data, root: Path | None, images: bool) -> Examined:
    """Its facts, and what its masks hold; its images and masks as well where they are wanted."""
    archives = _archives(root)
    found = npz.examine(archives, data, images) if archives else reading.examine(_listing(root), data, images)
    assert found.survey is not None
    passed_over = tuple(_passed_over(root, archives))
    return replace(found, survey=replace(found.survey, remarks=(*found.survey.remarks, *passed_over)))


def _passed_over(root: Path | None, archives: list[Path]) -> Iterator[str]:
    """Remarks on what lies among the files that are read; `bare` has its own, of images without masks."""
    if root is not None and root.is_file():
        return
    folder = _folder(root)
    places: dict[Path, tuple[str, ...]] = {folder: (".npz",)} if archives else {}
    if (folder / "masks").is_dir():
        places = {folder / "images": IMAGE_SUFFIXES, folder / "masks": MASK_SUFFIXES}
    for place, suffixes in places.items():
        others = [path for path in place.iterdir() if path.suffix.lower() not in suffixes and path.name[0] != "."]
        folders = [path for path in others if path.is_dir()]
        kinds = Counter(path.suffix.lower() or "without a suffix" for path in others if path not in folders)
        told = [f"{count} {kind}" for kind, count in sorted(kinds.items())]
        told += [f"{len(folders)} folder{'s' if len(folders) > 1 else ''}"] if folders else []
        if told:
            yield f"not read in {place.name}: {', '.join(told)} (read: {', '.join(suffixes)})"


def _archives(root: Path | None) -> list[Path]:
    """The .npz files that hold the data; none where files of images do.

    Args:
        root: a folder, or such a file.
    """
    if root is not None and root.is_file():
        return [root]
    folder = _folder(root)
    found = [path for paths in files_in(folder, (".npz",)).values() for path in paths]
    if not found or (folder / "images").exists() or (folder / "masks").exists():
        return []
    images = [path for path in bare.files_below(folder, Offenders()) if path.suffix.lower() in IMAGE_SUFFIXES]
    if images:
        raise DataError(f"{folder}: holds both {found[0].name} and images ({images[0].relative_to(folder)}): which?")
    return found


def _listing(root: Path | None) -> Listing:
    folder = _folder(root)
    split_files = [next(iter(spelled(folder, name)), folder / name) for name in SPLIT_FILES]
    given = any(path.exists() for path in split_files)
    if given or (folder / "masks").exists():
        return _with_masks(folder, split_files, given)
    images = folder / "images"
    for path in spelled(folder, "images", "masks"):
        if path.name.lower() != path.name:  # its masks would count as images
            raise DataError(f"{path}: must be called {path.name.lower()}, in small letters")
    listing = bare.listing_of(folder, images if images.is_dir() else folder, "folder")
    if not listing.images and not listing.offenders:
        raise _nothing(root, listing.remarks)
    beside = [path for path in folder.iterdir() if path != images and not path.name.startswith(".")]
    if images.is_dir() and beside:
        names = ", ".join(sorted(readable(path.name) for path in beside))
        listing.remarks.append(f"beside images, {names} is not read: masks are read from the folder masks")
    return listing


def _folder(root: Path | None) -> Path:
    """The folder of the data: the first of ROOT/folder and ROOT that holds images/, else the first that is there."""
    places = _places(root)
    there = [place for place in places[: 1 if root is None else 2] if place.is_dir()]
    for place in [*(place for place in places if (place / "images").is_dir()), *there]:
        return place
    raise _nothing(root)


def _places(root: Path | None) -> list[Path]:
    base = root or cache_folder() / "data"
    return [base / "folder", base]


def _nothing(root: Path | None, remarks: Iterable[str] = ()) -> DataError:
    return DataError(
        "there are no images: expected the folder images, or images at any depth, in one of these; "
        "name the folder of the data by --data-root or ABLATION_DATA",
        [*map(str, _places(root)), *remarks],
    )


def _with_masks(folder: Path, split_files: list[Path], given: bool) -> Listing:
    """The images and their masks, split.

    Args:
        given: whether the split files are there, or some of them.
    """
    listing = Listing("folder", folder, channels=None)
    if not (folder / "images").is_dir():
        listing.offenders.add(folder / "images", "is missing: images that have masks must be in it")
    for part in (folder / "masks", *(split_files if given else ())):
        if not part.exists():
            why = f": {', '.join(SPLIT_FILES)} must all be there, or none" if part in split_files else ""
            listing.offenders.add(part, f"is missing{why}")
    listing.refuse()

    images, masks = images_in(folder / "images", listing.offenders), files_in(folder / "masks", MASK_SUFFIXES)

    def pairs(stems: list[str]) -> list[Pair]:
        return [_pair(folder, images[stem], masks.get(stem, []), listing) for stem in stems]

    train, labels, held_out = _named(split_files, images, listing) if given else _drawn(images, listing)
    if not given:
        _refuse_lone_masks(masks, images, listing)
        # A mask that is missing or broken is a mistake, unless a file says that nothing reads it.
        listing.unread = pairs(train)
    listing.train = [images[stem] for stem in train]
    listing.labels, listing.held_out = pairs(labels), pairs(held_out)
    listing.class_names = class_names_in(spelled(folder, *CLASS_FILES), listing.offenders)
    if listing.class_names is None:
        unread = spelled(folder, *OTHER_CLASS_FILES)
        listing.remarks += [
            f"{path.name} is not read: the names of classes are read from classes.yaml" for path in unread
        ]
    return listing


def _named(split_files: list[Path], images: dict[str, Path], listing: Listing) -> list[list[str]]:
    """The stems of the three splits, by their files."""
    splits = {path: names_in(path, listing.offenders) for path in split_files}
    check_disjoint(splits, listing.offenders)
    for path, stems in splits.items():
        for stem in stems:
            if stem not in images:
                listing.offenders.add(path, f"{stem} is no stem of an image in {listing.folder / 'images'}")
    return [[stem for stem in stems if stem in images] for stems in splits.values()]


def _drawn(images: dict[str, Path], listing: Listing) -> list[list[str]]:
    """The stems of the three splits, at random."""
    if len(images) < FEWEST:
        listing.offenders.add(
            listing.folder / "images", f"holds {len(images)} images; three splits need at least {FEWEST}"
        )
    order, fifth = shuffled(images, SPLIT_SEED), (len(images) + 2) // 5  # rounded
    return [order[2 * fifth :], order[:fifth], order[fifth : 2 * fifth]]


def _refuse_lone_masks(masks: dict[str, list[Path]], images: dict[str, Path], listing: Listing) -> None:
    """Lists the masks that would be left out unseen: their images are missing, or of a kind that is not read."""
    suffixes = ",".join(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
    for stem in sorted(masks.keys() - images.keys()):
        for path in masks[stem]:
            what = f"has no image {readable(stem)}.{{{suffixes}}} in {listing.folder / 'images'}"
            listing.offenders.add(path.with_name(readable(path.name)), what)


def _pair(folder: Path, image: Path, masks: list[Path], listing: Listing) -> Pair:
    """The image and the mask of its stem; a PNG stands for a mask that is missing."""
    first = min(masks, key=lambda path: path.suffix.lower() != ".png", default=None)
    for second in masks:
        if first is not None and second != first:
            listing.offenders.add(second, f"is a second mask, beside {first.name}")
    return Pair(image, first or folder / "masks" / f"{image.stem}.png")
