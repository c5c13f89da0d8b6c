"""What is kept of a trial for the page: small, and the same when it is read again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from results.shown import POINTS, Shown, shown_frames, small, small_labels, thinned
from tests.results.studies import shown_trial


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    shown = dataclasses.replace(shown_trial(), loss=None)
    shown.save(tmp_path / "page.npz")
    again = Shown.load(tmp_path / "page.npz")
    assert again is not None and again.loss is None
    for name in ("samples", "truth", "disagreement", "class_names", "classifier", "ignore_index"):
        assert np.array_equal(getattr(again, name), getattr(shown, name))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half a file", b"no archive"])
def test_a_file_that_is_not_there_or_is_broken_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "page.npz").write_bytes(content)
    assert Shown.load(tmp_path / "page.npz") is None


def test_large_images_are_made_smaller_and_small_ones_stay_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    assert np.array_equal(small(images), images)
    assert small(np.zeros((1, 200, 100, 3), dtype=np.uint8)).shape == (1, 96, 48, 3)
    labels = np.arange(200 * 200).reshape(1, 200, 200) % 300 - 1
    assert set(small_labels(labels).ravel()) <= set(range(-1, 299))  # classes, never a mean of two


def test_a_curve_is_thinned_to_means_that_keep_its_course() -> None:
    steps = np.arange(1, 10_001)
    thin = thinned(steps, 1 / steps, np.where(steps % 2, np.nan, 3.0))
    assert thin.shape == (3, POINTS)
    assert thin[1] == pytest.approx([part.mean() for part in np.array_split(1 / steps, POINTS)])
    assert (thin[2] == 3).all()
    assert thinned([1, 2], [0.5, np.inf]).tolist()[1][0] == 0.5
    assert np.isnan(thinned([1, 2], [0.5, np.inf])[1, 1])


def test_frames_have_the_first_and_the_last_among_them() -> None:
    assert shown_frames(5) == [0, 1, 2, 3, 4]
    assert len(shown_frames(100)) == 12
    assert (shown_frames(100)[0], shown_frames(100)[-1]) == (0, 99)
