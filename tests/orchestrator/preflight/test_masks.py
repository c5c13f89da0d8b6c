"""Masks that leave too little to train or to score on are refused before a trial is begun."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.preflight.masks import check_masks
from search_spaces.spaces import ABLATIONS
from trainables.config import apply
from trainables.data import About, Arrays
from trainables.evaluation.chosen_images import labelled, scored

VOID, SIZE = 255, 16
ABOUT = About(1, ("background", "a", "b"), 10, 10, 10, "fingerprint", unscored_classes=(0,))


def study(tiny, **settings):
    changes = {"segmentation.label_images": 4, "segmentation.batch_size": 256, "segmentation.validation_images": 2}
    changes |= {name.replace("__", "."): value for name, value in settings.items()}
    made = plan.build(Request(ABLATIONS, settings=tiny | changes, chosen=["baseline"], seeds=[0, 1]), ABOUT)
    return made


def arrays(labels, held_out):
    none = np.zeros((0, 1, SIZE, SIZE), np.uint8)
    return Arrays(none, none, labels, none, held_out)


def masks(known):
    """Masks with so many pixels of class 1 each; the others are void."""
    made = np.full((len(known), SIZE * SIZE), VOID, np.uint8)
    for mask, pixels in zip(made, known, strict=True):
        mask[:pixels] = 1
    return made.reshape(-1, SIZE, SIZE)


FULL = masks([256] * 10)


def test_masks_with_enough_pass(tiny):
    check_masks(study(tiny), lambda _: arrays(FULL, FULL))
    check_masks(study(tiny), lambda _: arrays(masks([64] * 10), masks([0] * 9 + [1])))


@pytest.mark.parametrize("order", ["shuffled", "by_image"])
def test_a_batch_of_more_pixels_than_the_chosen_masks_have_is_refused(tiny, order):
    chosen = labelled(10, apply(study(tiny).baseline, {"seed": 1}).segmentation, 1)[0].tolist()
    few = [63 if i in chosen else 256 for i in range(10)]  # those of seed 1 have 252 in all
    said = "at most 63, the pixels of an image of these" if order == "by_image" else "at most 252, the pixels of these"
    with pytest.raises(UsageError, match=rf"baseline-seed[01]: .* segmentation.batch_size must be {said}.* got 256"):
        check_masks(study(tiny, segmentation__pixel_order=order), lambda _: arrays(masks(few), FULL))


def test_held_out_masks_with_nothing_to_score_are_refused(tiny):
    background = np.where(FULL == 1, 0, FULL).astype(np.uint8)  # a class that is not scored
    for held_out in (masks([0] * 10), background):
        with pytest.raises(UsageError, match="10 held-out images have no pixel to score: all are void"):
            check_masks(study(tiny), lambda _, held_out=held_out: arrays(FULL, held_out))


def test_what_is_not_chosen_to_be_scored_does_not_help(tiny):
    three = study(tiny, segmentation__held_out_images=3)
    chosen = scored(10, three.baseline.segmentation).tolist()
    assert len(chosen) == 3
    lucky, unlucky = ([256 * ((i in chosen) == wanted) for i in range(10)] for wanted in (True, False))
    check_masks(three, lambda _: arrays(FULL, masks(lucky)))
    with pytest.raises(UsageError, match="the masks of its 3 held-out images have no pixel to score"):
        check_masks(three, lambda _: arrays(FULL, masks(unlucky)))


def test_a_study_that_does_not_segment_needs_no_masks(tiny):
    check_masks(study(tiny, stages=["fid"]), lambda _: pytest.fail("read for nothing"))
