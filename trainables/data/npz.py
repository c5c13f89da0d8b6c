"""Images in .npz files, with masks or without. Pickles are not loaded.

    images, or arr_0      uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3)
    masks                 optional, beside images: class numbers (N, H, W); 255 is void
    train and held_out    in place of images: the two splits, of images without masks

Several files are joined in the order of their names. Without masks a fifth of the images are held out and the others
train; with them another fifth is the label pool: in the order of a hash of the images' contents, as in `bare`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data import About, Arrays, Examined, Survey
from trainables.data.array_images import squashed_all, without_masks
from trainables.data.cache import cached
from trainables.data.image_file import VOID, Unusable, nearest, one_line
from trainables.data.listing import Offenders, fifths
from trainables.data.survey import Masks, counted, gaps
from trainables.sections import Data

VERSION = 1  # of the reading
SPLIT_SEED = 20240526  # fixed: the splits are the same for every seed, study and machine
IMAGES, MASKS, SPLITS = ("images", "arr_0"), "masks", ("train", "held_out")
NAMES_RULE = "images must be called images or arr_0, or train and held_out"
IMAGES_RULE = "images must be uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), N of 1 or more"

Named = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Content:
    """What the files hold.

    Args:
        images: of all splits, (N, H, W, C).
        contents: the SHA-256 of each.
        masks: (N, H, W); None where there are none.
        train: the numbers of the images, as `labels` and `held_out`.
        remarks: what a person should know, and is no fault.
    """

    images: NDArray[np.uint8]
    contents: list[str]
    masks: NDArray[np.uint8] | None
    train: list[int]
    labels: list[int]
    held_out: list[int]
    remarks: tuple[str, ...]


def about(paths: Sequence[Path]) -> About:
    """The facts of the dataset in the files: the same at every image size.

    Raises:
        DataError: with all that is wrong with them.
    """
    return facts_of(_content(paths))


def read(paths: Sequence[Path], data: Data) -> tuple[About, Arrays]:
    """Its facts, and its images and masks squashed to `data.image_size`."""
    found = _content(paths)
    facts = facts_of(found)
    return facts, arrays_of(found, facts, data.image_size)


def examine(paths: Sequence[Path], data: Data, images: bool) -> Examined:
    """Its facts, and what its masks hold; its images and masks as well where they are wanted."""
    found = _content(paths)
    facts = facts_of(found)
    survey = _survey(found, paths)
    return Examined(facts, arrays_of(found, facts, data.image_size) if images else None, survey)


def facts_of(found: Content) -> About:
    """The facts of a dataset of this content."""
    classes = () if found.masks is None else _classes(found.masks[found.labels + found.held_out])
    return About(
        image_channels=found.images.shape[-1],
        class_names=tuple(f"class {number}" for number in range(classes[-1] + 1)) if classes else (),
        train_images=len(found.train),
        label_images=len(found.labels),
        held_out_images=len(found.held_out),
        fingerprint=_fingerprint(found),
    )


def arrays_of(found: Content, facts: About, size: int) -> Arrays:
    """Its images and masks squashed to `size` pixels."""

    def made() -> Arrays:
        train, labels, held_out = (
            squashed_all(found.images[numbers], size) for numbers in (found.train, found.labels, found.held_out)
        )
        if found.masks is None:
            return without_masks(train, held_out)
        label_masks, held_out_masks = (
            np.stack([nearest(mask, size) for mask in found.masks[numbers]])
            for numbers in (found.labels, found.held_out)
        )
        return Arrays(train, labels, label_masks, held_out, held_out_masks)

    return cached(f"npz-{size}-{facts.fingerprint}", made)


def _fingerprint(found: Content) -> str:
    """SHA-256 over the arrays and their splits: files that are packed or called otherwise have the same."""
    splits, masks = [found.train, found.labels, found.held_out], b"" if found.masks is None else found.masks.tobytes()
    facts = [VERSION, found.images.shape, found.contents, splits, hashlib.sha256(masks).hexdigest()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _content(paths: Sequence[Path]) -> Content:
    offenders, held, remarks = Offenders(), list[Named](), list[str]()
    for path in paths:
        with offenders.of(path):
            held.append(_read(path, remarks))
            _refuse_others(held[-1], held[0], paths[0])
    _refuse(offenders, paths)
    joined = {name: np.concatenate([named[name] for named in held]) for name in held[0]}
    with offenders.of(paths[0]):
        found = _split(joined, tuple(remarks))
    _refuse(offenders, paths)
    return found


def _refuse(offenders: Offenders, paths: Sequence[Path]) -> None:
    offenders.refuse(f"the data in {paths[0] if len(paths) == 1 else paths[0].parent} cannot be used:")


def _refuse_others(named: Named, first: Named, path: Path) -> None:
    """Refuses arrays that cannot be joined with those of the first file."""
    for name in {**first, **named}:
        shapes = [(of[name].shape[1:] if name in of else None) for of in (named, first)]
        if shapes[0] != shapes[1]:
            told = [f"(N, {', '.join(map(str, shape))})" if shape else "missing" for shape in shapes]
            raise Unusable(f"{name} is {told[0]}, but {told[1]} in {path.name}: files that are joined must be alike")


def content_of(given: Mapping[str, Any]) -> Content:
    """The content of arrays by name, as a file has them.

    Raises:
        Unusable: with what is wrong with them.
    """
    names = _names(list(given))
    if others := given.keys() - set(names):
        raise Unusable(f"holds {', '.join(sorted(others))} too: {NAMES_RULE}, and masks")
    return _split(_by_use({name: np.asarray(given[name]) for name in names}), ())


def _by_use(arrays: Mapping[str, NDArray[Any]]) -> Named:
    """The arrays by `images`, `masks`, `train` and `held_out`."""
    found = {"images" if name in IMAGES else name: _images(name, a) for name, a in arrays.items() if name != MASKS}
    return found | ({MASKS: _masks(arrays[MASKS], found["images"])} if MASKS in arrays else {})


def _read(path: Path, remarks: list[str]) -> Named:
    """The arrays of one file that are of use, by `images`, `masks`, `train` and `held_out`."""
    if not zipfile.is_zipfile(path):
        raise Unusable("is no .npz: numpy.savez writes one" if path.exists() else "is missing")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = _names(file.files)
            remarks += [f"{path.name}: {name} is not read" for name in file.files if name not in names]
            arrays = {name: _array(file, name) for name in names}
    except Unusable:
        raise
    except Exception as error:  # a flipped bit can raise anything
        raise Unusable(f"cannot be read: {one_line(error)}") from None
    return _by_use(arrays)


def _array(file: Mapping[str, Any], name: str) -> NDArray[Any]:
    try:
        array = file[name]
    except Exception as error:  # as above
        raise Unusable(f"{name} cannot be read: {one_line(error)}") from None
    if not isinstance(array, np.ndarray):  # numpy gives the bytes of what is none
        raise Unusable(f"{name} is no array")
    return array


def _names(held: Sequence[str]) -> list[str]:
    """Those of the names in a file that are read."""
    images = [name for name in IMAGES if name in held][:1]
    splits = [name for name in SPLITS if name in held]
    masks = [MASKS] if MASKS in held else []
    if images and splits:
        raise Unusable(f"holds {images[0]} and {' and '.join(splits)}: {NAMES_RULE}")
    if len(splits) == 1 or not images + splits:
        raise Unusable(f"holds {', '.join(held) or 'no array'}: {NAMES_RULE}")
    if splits and masks:
        raise Unusable("holds masks beside train and held_out: masks go with images, which are split")
    return images + splits + masks


def _images(name: str, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images as (N, H, W, C)."""
    usual = array[..., None] if array.ndim == 3 else array
    if array.dtype != np.uint8 or usual.ndim != 4 or usual.shape[-1] not in (1, 3) or not array.size:
        raise Unusable(f"{name} is {array.dtype} of shape {array.shape}; {IMAGES_RULE}")
    return usual


def _masks(array: NDArray[np.uint8], images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    what = f"{MASKS} is {array.dtype} of shape {array.shape}"
    if array.dtype.kind not in "iub" or array.shape != images.shape[:3]:
        raise Unusable(f"{what}; masks must be whole numbers of shape {images.shape[:3]}, as the images are")
    if array.min() < 0 or array.max() > VOID:
        raise Unusable(f"{what}, from {array.min()} to {array.max()}; class numbers are 0 to {VOID}")
    return array.astype(np.uint8)


def _split(joined: Named, remarks: tuple[str, ...]) -> Content:
    if "images" not in joined:
        train, held_out = (joined[name] for name in SPLITS)
        if train.shape[1:] != held_out.shape[1:]:
            raise Unusable(f"train is of shape {train.shape}, but held_out {held_out.shape}: only N may differ")
        images, numbers = np.concatenate([train, held_out]), list(range(len(train) + len(held_out)))
        return Content(images, _contents(images), None, numbers[: len(train)], [], numbers[len(train) :], remarks)
    images, masks = joined["images"], joined.get(MASKS)
    contents, held = _contents(images), 1 if masks is None else 2
    if (distinct := len(set(contents))) <= held:
        raise Unusable(f"holds {distinct} distinct images; {held + 1} splits need at least {held + 1}")
    *parts, rest = fifths(contents, held, SPLIT_SEED)
    found = Content(images, contents, masks, rest, parts[1] if masks is not None else [], parts[0], remarks)
    if masks is not None and not _classes(masks[found.labels]):
        raise Unusable(f"{MASKS}: no mask of the label pool holds a class")
    return found


def _contents(images: NDArray[np.uint8]) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def _classes(masks: NDArray[np.uint8]) -> list[int]:
    """The class numbers that occur, sorted."""
    return np.flatnonzero(np.bincount(masks.ravel(), minlength=VOID + 1)[:VOID]).tolist()


def _survey(found: Content, paths: Sequence[Path]) -> Survey:
    if found.masks is None:
        none = (0,) * (VOID + 1)
        return Survey(none, none, (*found.remarks, *_copies(found)))
    offenders, looked = Offenders(), Masks(VOID)
    for number in found.labels + found.held_out:
        try:
            looked.look_at(found.masks[number])
        except Unusable as error:
            offenders.add(paths[0], f"{MASKS}[{number}] {error}")
    _refuse(offenders, paths)
    labels, held_out = (np.bincount(found.masks[of].ravel(), minlength=256) for of in (found.labels, found.held_out))
    classes = _classes(found.masks[found.labels + found.held_out])
    return Survey(tuple(labels.tolist()), tuple(held_out.tolist()), (*found.remarks, *looked.remarks(), *gaps(classes)))


def _copies(found: Content) -> Iterator[str]:
    """Images that are in both of the splits that the files name."""
    train, held_out = ({found.contents[number] for number in of} for of in (found.train, found.held_out))
    if both := len(train & held_out):
        yield f"{counted(both, 'image')} byte for byte in both 'train' and 'held_out': they are scored and learned from"
