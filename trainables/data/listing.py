"""Which files a dataset has: its splits, the names of its classes, and all that is wrong with any of them.

A check goes on to the last file: `DataError` lists all offenders, not the first.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from trainables.data import DataError
from trainables.data.image_file import IMAGE_SUFFIXES, VOID, Unusable, one_line

SHOWN = 20  # lines of offenders
CLASS_FILES = ("classes.yaml", "classes.yml")

Contents = dict[tuple[str, Path], str]  # (split, file) -> SHA-256


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
        bare: held-out images of a dataset without masks.
        contents: the SHA-256 of files that were hashed while they were listed.
        turned: EXIF's orientation of each image and mask that is not displayed as it is stored, once heads are read.
        remarks: what a person should know, and is no fault.
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
    bare: list[Path] = field(default_factory=list)
    contents: dict[Path, str] = field(default_factory=dict)
    turned: dict[Path, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def pairs(self) -> list[Pair]:
        """Those of both splits that have masks."""
        return self.labels + self.held_out

    @property
    def images(self) -> list[Path]:
        """Those of all splits."""
        return self.train + [pair.image for pair in self.pairs] + self.bare

    def refuse(self) -> None:
        """Raises `DataError` if anything is wrong so far."""
        self.offenders.refuse(f"the {self.name} data in {self.folder} cannot be used:")


def names_in(path: Path, offenders: Offenders) -> list[str]:
    """The names in a split's file, one a line, composed."""
    try:
        names = [composed(line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        offenders.add(path, f"cannot be read: {one_line(error)}")
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
    """The image files of a folder by their composed stems, sorted."""
    found: dict[str, Path] = {}
    for stem, paths in files_in(folder, IMAGE_SUFFIXES).items():
        for second in paths[1:]:
            offenders.add(second, f"has the same stem as {paths[0].name}")
        if (name := readable(paths[0].name)) != paths[0].name:
            offenders.add(paths[0].with_name(name), "has a name that is no UTF-8; rename it, and its mask with it")
        else:
            found[stem] = paths[0]
    return found


def files_in(folder: Path, suffixes: Iterable[str]) -> dict[str, list[Path]]:
    """The files of a folder that end in one of the suffixes, in capitals or not, by their composed stems, sorted."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(composed(path.stem), []).append(path)
    return found


def composed(name: str) -> str:
    """The name with each letter and its accents as one character: macOS writes them as several, and they look alike."""
    return unicodedata.normalize("NFC", name)


def spelled(folder: Path, *names: str) -> list[Path]:
    """The files of a folder that have one of the names, in capitals or not; exact spellings come first."""
    found = [path for path in folder.iterdir() if path.name.lower() in names]
    return sorted(found, key=lambda path: (path.name not in names, path.name))


def readable(name: str) -> str:
    r"""A file's name as it can be printed: a byte that is no UTF-8 as `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that looks random and depends on nothing but `seed` and each name, on any machine."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def fifths(contents: Sequence[str], held: int, seed: int) -> list[list[int]]:
    """The numbers of the items in `held` parts of a fifth of the distinct contents each, and last in the rest.

    It depends on nothing but `seed` and the contents: copies are in one part.

    Args:
        contents: a digest of each item's.
    """
    order = shuffled(set(contents), seed)
    fifth = max(1, (len(order) + 2) // 5)  # rounded
    part_of = {content: min(place // fifth, held) for place, content in enumerate(order)}
    parts: list[list[int]] = [[] for _ in range(held + 1)]
    for number, content in enumerate(contents):
        parts[part_of[content]].append(number)
    return parts


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        raise Unusable(f"cannot be read as YAML: {one_line(error)}") from None
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
