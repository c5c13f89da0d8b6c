"""The page's pictures decoded: which pixels they hold, whose they are, and what was left out."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
from PIL import Image

from results.image_grids import palette
from results.page.pictures import Budget, pictures
from results.shown import Shown
from tests.results.studies import shown_trial

PLACE = "the folder"


def _rows(html: str) -> list[tuple[str, np.ndarray]]:
    """(label, pixels) of each strip."""
    found = re.findall(r'<span>([^<]*)</span><img [^>]*src="data:image/webp;base64,(.*?)"', html)
    return [
        (label, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))) for label, data in found
    ]


def _section(html: str, title: str) -> str:
    return html.split(f"<h2>{title}</h2>")[1].split("</section>")[0].split("<details>")[0]


def test_samples_stand_side_by_side_at_their_own_resolution_to_the_last_bit() -> None:
    shown = shown_trial(side=16)
    ((label, pixels),) = _rows(_section(pictures({"baseline": {3: shown}}, PLACE), "Samples"))
    assert (label, pixels.shape) == ("baseline", (16, 12 * 17 - 1, 4))
    assert shown.samples is not None
    for i in range(12):
        tile = pixels[:, 17 * i : 17 * i + 16]
        assert (tile[..., :3] == shown.samples[i]).all()
        assert (pixels[:, 17 * i + 16 : 17 * i + 17, 3] == 0).all()  # a gap, through which the page is seen


def test_samples_most_like_copies_stand_above_their_nearest_training_images_where_that_was_looked_for() -> None:
    plain, other = shown_trial(), shown_trial(seed=1)
    assert plain.samples is not None and other.samples is not None
    near = dataclasses.replace(plain, copies=plain.samples[:3], nearest=other.samples[:3], ratio=np.array([0, 0.5, 1]))
    html = pictures({"baseline": {0: near}, "wide": {0: plain}}, PLACE)
    folded = html.split("<summary>The samples that are most like a training image</summary>")[1].split("</details>")[0]
    (label, above), (below_label, below) = _rows(folded)
    assert (label, below_label) == ("baseline", "") and "most like copies, 0.00, 0.50, 1.00" in folded
    for i in range(3):
        assert (above[:, 17 * i : 17 * i + 16, :3] == plain.samples[i]).all()
        assert (below[:, 17 * i : 17 * i + 16, :3] == other.samples[i]).all()
    assert "most like a training image" not in pictures({"wide": {0: plain}}, PLACE)


def test_masks_stand_below_the_image_and_the_truth_that_they_share() -> None:
    shown = {name: {0: shown_trial(seed=i)} for i, name in enumerate(("baseline", "wide"))}
    rows = _rows(_section(pictures(shown, PLACE), "Segmentation masks"))
    assert [label for label, _ in rows] == ["image", "truth", "baseline", "wide"]
    colours = palette(3)
    wide = shown["wide"][0]
    assert wide.truth is not None and wide.predicted is not None
    assert (rows[1][1][:, :16, :3] == colours[wide.truth[0]]).all()
    assert (rows[3][1][:, 17:33, :3] == colours[wide.predicted[1]]).all()


def test_a_variant_of_other_images_has_a_truth_of_its_own() -> None:
    shown = {"baseline": {0: shown_trial(side=16)}, "larger": {0: shown_trial(side=24)}}
    labels = [label for label, _ in _rows(_section(pictures(shown, PLACE), "Segmentation masks"))]
    assert labels == ["image", "truth", "baseline", "image", "truth", "larger"]


def test_ignored_pixels_are_grey_and_classes_have_their_names() -> None:
    shown = shown_trial()
    assert shown.truth is not None
    truth = shown.truth.copy()
    truth[0, 0, 0] = 255
    html = pictures({"baseline": {0: dataclasses.replace(shown, truth=truth)}}, PLACE)
    assert _rows(_section(html, "Segmentation masks"))[1][1][0, 0].tolist() == [146, 146, 146, 255]
    assert "</i>cat</span>" in html and "<script" not in html


def test_one_seed_is_shown_and_the_others_are_folded_away() -> None:
    html = pictures({"baseline": {seed: shown_trial(seed=seed) for seed in (1, 4, 7)}}, PLACE)
    assert html.count("<summary>Seed 1<") == 0
    assert html.count("<summary>Seed 4<") == html.count("<summary>Seed 7<") == 2  # samples and masks
    assert "Left out" not in html


def test_every_picture_has_a_text() -> None:
    html = pictures({"a&b": {0: shown_trial()}}, PLACE)
    alts = re.findall('<img [^>]*alt="(.*?)"', html)
    assert len(alts) == html.count("<img")
    assert {"a&amp;b: 12 samples", "8 held-out images", "a&amp;b: the predicted masks"} <= set(alts)


def test_what_has_no_room_is_left_out_and_named() -> None:
    shown = {name: {seed: shown_trial(seed=seed) for seed in (0, 1)} for name in ("baseline", "wide")}
    whole = pictures(shown, PLACE)
    most = Budget(left=10**9)
    pictures(shown, PLACE, most)
    used = 10**9 - most.left
    html = pictures(shown, PLACE, Budget(used - 1))
    assert "Left out, for the page&#x27;s size: masks, seed 1. All pictures lie in the folder." in html
    assert len(html) < len(whole)
    first = len(re.findall("<img .*?>", whole)[0])
    html = pictures(shown, PLACE, Budget(first))
    assert "samples, seed 0 from wide on; masks, seed 0; " in html
    assert [label for label, _ in _rows(html)] == ["baseline"]
    assert "Segmentation masks" not in html
    assert _rows(pictures(shown, PLACE, Budget(10))) == []


def test_trials_without_pictures_make_no_section() -> None:
    assert pictures({}, PLACE) == ""
    assert pictures({"baseline": {0: Shown()}}, PLACE) == ""


def test_large_images_are_made_smaller_and_smooth() -> None:
    html = pictures({"baseline": {0: shown_trial(side=256, channels=3)}}, PLACE)
    (_, pixels), *_ = _rows(html)
    assert pixels.shape[0] == 96
    assert '<img class="smooth"' in html
