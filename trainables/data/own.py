"""A dataset of a person's own: a function that gives arrays by name, as an .npz file has them.

    (root, **args) -> {"images": uint8 (N, H, W[, C]), "masks": (N, H, W)}    or {"train": ..., "held_out": ...}

`root` is the folder that `--data-root` names, or None. The images may be of any size: they are squashed to the image
size as those of every dataset are, and split as those of an .npz file are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainables.data import About, Arrays, DataError
from trainables.data.image_file import Unusable
from trainables.data.npz import Content, arrays_of, content_of, facts_of
from trainables.own_modules import told
from trainables.own_parts import PartError, load
from trainables.sections import Data


def about(data: Data, root: Path | None) -> About:
    """The facts of the dataset: the same at every image size.

    Raises:
        DataError: the function cannot be had, raises, or gives what cannot be used.
    """
    return facts_of(_content(data, root))


def read(data: Data, root: Path | None) -> tuple[About, Arrays]:
    """Its facts, and its images and masks squashed to `data.image_size`."""
    found = _content(data, root)
    facts = facts_of(found)
    return facts, arrays_of(found, facts, data.image_size)


def _content(data: Data, root: Path | None) -> Content:
    try:
        given = load(data.dataset)(root, **data.dataset_args)
    except PartError as error:
        raise DataError(f"data.dataset: {error}") from None
    except Exception as error:  # whatever a person's code raises
        raise DataError(f"data.dataset={data.dataset}: {told(error)}") from None
    if not isinstance(given, Mapping):
        raise DataError(f"data.dataset={data.dataset}: must give arrays by name, not {type(given).__name__}")
    try:
        return content_of(given)
    except Unusable as error:
        raise DataError(f"data.dataset={data.dataset}: {error}") from None
