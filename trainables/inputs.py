"""What a trial reads beside its config and its store. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Inputs:
    """Where a machine keeps its files: no settings, so no part of any key; what is in them is.

    Args:
        data_root: the folder of the datasets, or a .npz of images; None for their own default.
        checkpoint: of a pretrained network; None where none is asked for.
    """

    data_root: Path | None = None
    checkpoint: Path | None = None


NOWHERE = Inputs()
LONGEST = 32  # bytes that tell a stand-in
STAND_INS = {
    b"version https://git-lfs": "it is a pointer of Git LFS, `git lfs pull` fetches the file itself",
    b"<!doctype html": "it is a web page that was saved in place of the file",
    b"<html": "it is a web page that was saved in place of the file",
}  # by how they begin, in small letters


def instead(path: Path, otherwise: str) -> str:
    """What a file that is of no use is in place of what it should be; `otherwise` where its beginning does not tell."""
    try:
        with path.open("rb") as file:
            begins = file.read(LONGEST)
    except OSError:
        return otherwise
    found = (words for mark, words in STAND_INS.items() if begins.lower().lstrip().startswith(mark))
    return next(found, otherwise) if begins else "it is empty"
