"""Folders on this machine: where data lie by default, what was downloaded and what was decoded.

What is in them can be made again, and is written beside and renamed: half of a thing never stands in a thing's place.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields
from http.client import HTTPException
from pathlib import Path

import numpy as np

from trainables.cache import cache_folder
from trainables.data import Arrays, DataError
from trainables.data.listing import Offenders
from trainables.source import PACKAGE, reached, source_hash

DOWNLOAD_FAILS = (OSError, RuntimeError, EOFError, HTTPException)  # torchvision raises what it meets


def located(root: Path | None, name: str, marker: str, *others: str) -> Path:
    """The folder of a dataset: the first of `root/name`, `root` and `root/others` that holds `marker`.

    Args:
        root: as --data-root or ABLATION_DATA names it; None for the cache folder's `data`.
        marker: the folder, by its path from the dataset's, that shows that the dataset is there.

    Raises:
        DataError: none of them holds it; the text names them all.
    """
    root = root or cache_folder() / "data"
    places = [root / name, root, *(root / other for other in others)]
    for place in places:
        if (place / marker).is_dir():
            return place
    raise DataError(
        f"there is no {name} data: expected the folder {marker} in one of these; "
        "name the folder of the data by --data-root or ABLATION_DATA",
        map(str, places),
    )


def downloaded(
    target: Path,
    marker: str,
    fetch: Callable[[Path], object],
    source: str,
    unwanted: tuple[str, ...] = ("*.gz", "*.tar"),
) -> None:
    """Puts what `fetch` writes at `target`, whole or not at all; nothing is fetched where `marker` is there already.

    Args:
        target: the dataset's folder.
        marker: as in `located`.
        fetch: fills the empty folder that it is given.
        source: where a person gets the data.
        unwanted: patterns of the files that are not kept; the usual ones are of archives that were unpacked.

    Raises:
        DataError: the download failed; the text says how to do without it.
    """
    if (target / marker).is_dir():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            folder = Path(scratch) / target.name
            folder.mkdir()
            fetch(folder)
            for file in [file for pattern in unwanted for file in folder.rglob(pattern)]:
                file.unlink()
            os.rename(folder, target)
    except DOWNLOAD_FAILS as error:
        if (target / marker).is_dir():
            return  # another process was quicker
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{target.name} could not be downloaded to {target}: {why}",
            [
                f"get it from {source}",
                f"and lay it out so that {target / marker} is there,",
                "or name the folder that it is in by --data-root or ABLATION_DATA",
            ],
        ) from error


def by_torchvision(dataset: str, **arguments: str) -> Callable[[Path], object]:
    """What fetches a dataset of torchvision's, by the name of its class, into a folder: for `downloaded`."""

    def fetch(folder: Path) -> None:
        import torchvision.datasets  # only now: it imports torch

        getattr(torchvision.datasets, dataset)(str(folder), download=True, **arguments)

    return fetch


def verified(folder: Path, checksums: Mapping[str, str], algorithm: str, whose: str, source: str) -> list[bytes]:
    """The contents of a published dataset's files, in the order of `checksums`.

    Args:
        checksums: by the file's name in `folder`.
        algorithm: that they were made by, as hashlib names it.
        whose: the dataset's name.
        source: where a person gets the files.

    Raises:
        DataError: with all files that are missing or are others.
    """
    offenders, found = Offenders(), []
    for name, expected in checksums.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            offenders.add(folder / name, f"cannot be read: {error.strerror}")
            continue
        checksum = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
        if checksum != expected:
            offenders.add(folder / name, f"is not {whose}'s: its {algorithm} should be {expected}, but is {checksum}")
        found.append(content)
    offenders.refuse(f"the {whose} data in {folder} cannot be used; get them again from {source}:")
    return found


def cached(name: str, make: Callable[[], Arrays]) -> Arrays:
    """What `make` gives, from the cache folder where an earlier call with this name and code has left it.

    Args:
        name: tells everything that the arrays depend on, but for the code.
        make: what the source of its module reaches is told beside the name: an edit of the reading decodes anew.
    """
    path = cache_folder() / "arrays" / f"{name}{_code_of(make.__module__)}.npz"
    found = _read(path)
    if found is None:
        found = make()
        try:
            _write(path, found)
        except OSError as error:  # the trial can go on without
            warnings.warn(f"the decoded images were not kept in {path}: {error}", stacklevel=2)
    return found


def _code_of(module: str) -> str:
    """A suffix that tells the code that the module reaches; "" of a module that is not ours."""
    return f"-{source_hash(reached([module], frozenset()))}" if module.partition(".")[0] == PACKAGE else ""


def _read(path: Path) -> Arrays | None:
    """The arrays in `path`; None where it is missing or damaged: a zip file has a checksum for each of its members."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return Arrays(**{field.name: file[field.name] for field in fields(Arrays)})
    except Exception as error:  # a flipped bit can raise anything, and the answer is the same
        warnings.warn(f"{path} is damaged ({error}): its images are decoded again", stacklevel=3)
        return None


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        np.savez(made, **vars(arrays))
        os.replace(made, path)
