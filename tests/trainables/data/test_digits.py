"""The digits: their splits, their masks, and that a dry run need not wait for torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from trainables import data
from trainables.data import Dataset, digits
from trainables.sections import Data

ROOT = Path(__file__).parents[3]
PIXELS, DIGITS = load_digits(return_X_y=True)
HELD_OUT_DIGITS = [0, 1, 9, 7, 0, 7, 1, 1, 1, 7, 0, 0]  # the first of them, whatever the machine


def _load(image_size: int) -> Dataset:
    return data.load(Data(dataset="digits", image_size=image_size))


def _rows(images: torch.Tensor) -> np.ndarray:
    """The images of 8x8 as scikit-learn has them: 64 values from 0 to 16."""
    return (images.double() / 255 * 16).round().reshape(-1, 64).numpy()


def test_splits_together_are_every_digit_once() -> None:
    found = _load(8)
    rows = np.concatenate([_rows(split) for split in (found.train, found.label_images, found.held_out)])
    assert np.array_equal(np.unique(rows, axis=0), np.unique(PIXELS, axis=0))
    assert len(rows) == len(PIXELS) == len(np.unique(PIXELS, axis=0))


def test_splits_are_fixed() -> None:
    held_out = _load(8).held_out_masks[:12].flatten(1).amax(1) - 1
    assert held_out.tolist() == HELD_OUT_DIGITS


@pytest.mark.parametrize("size", [8, 16, 28])
def test_shapes_and_types_are_those_that_about_promises(size: int) -> None:
    found = _load(size)
    about = data.about(Data(image_size=size))
    assert about == found.about
    assert found.train.shape == (about.train_images, about.image_channels, size, size)
    for images, masks, count in (
        (found.label_images, found.label_masks, about.label_images),
        (found.held_out, found.held_out_masks, about.held_out_images),
    ):
        assert images.shape == (count, about.image_channels, size, size)
        assert masks.shape == (count, size, size)
        assert (images.dtype, masks.dtype) == (torch.uint8, torch.uint8)
    assert int(found.train.max()) == 255
    assert int(found.train.min()) == 0


@pytest.mark.parametrize("size", [8, 16])
def test_mask_is_the_class_where_there_is_ink_and_background_elsewhere(size: int) -> None:
    found = _load(size)
    ink = found.held_out[:, 0].float() / 255
    inside = found.held_out_masks > 0
    # The threshold acts before the rounding to 256 values.
    assert float(ink[inside].min()) > 0.35 - 1 / 255
    assert float(ink[~inside].max()) < 0.35 + 1 / 255
    assert inside.flatten(1).any(1).all()
    assert not inside.flatten(1).all(1).any()


def test_mask_at_the_digits_own_size_is_where_scikit_learn_has_more_than_35_percent() -> None:
    found = _load(8)
    for images, masks in ((found.label_images, found.label_masks), (found.held_out, found.held_out_masks)):
        assert np.array_equal(masks.flatten(1).numpy() > 0, _rows(images) / 16 > 0.35)


@pytest.mark.parametrize(("constant", "value"), [("INK", 0.9), ("SPLIT_SEED", 1)])
def test_fingerprint_tells_another_dataset(constant: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    before = data.about(Data()).fingerprint
    assert data.about(Data()).fingerprint == before
    monkeypatch.setattr(digits, constant, value)
    assert data.about(Data()).fingerprint != before


def test_class_is_the_digit_plus_1() -> None:
    found = _load(8)
    digit_of = {row.tobytes(): digit for row, digit in zip(PIXELS, DIGITS, strict=True)}
    for images, masks in ((found.label_images, found.label_masks), (found.held_out, found.held_out_masks)):
        for row, mask in zip(_rows(images), masks, strict=True):
            assert set(mask.unique().tolist()) - {0} == {digit_of[row.tobytes()] + 1}


def test_names_are_those_of_the_mask_values() -> None:
    about = data.about(Data())
    assert about.class_names == ("background", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert about.ignore_index not in range(len(about.class_names))


def test_nothing_before_a_study_waits_for_torch_or_scikit_learn() -> None:
    code = (
        "import sys; from trainables import data; from trainables.config import Data; "
        "assert data.examine(Data(), images=True).about == data.about(Data()); "
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
