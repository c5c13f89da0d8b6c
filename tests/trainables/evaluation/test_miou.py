"""mIoU against scikit-learn's Jaccard score, and its rules for what is absent or ignored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import Tensor

from trainables.evaluation.miou import confusion, reference_miou, scores

IGNORE = 255


def _masks(classes: int, seed: int, shape: tuple[int, ...] = (4, 9, 9)) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(classes, size=shape), rng.integers(classes, size=shape)
    predicted = np.where(rng.random(shape) < 0.5, truth, predicted)
    return torch.from_numpy(truth.astype(np.uint8)), torch.from_numpy(predicted)


@pytest.mark.parametrize("classes", [2, 5, 11])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_scores_are_those_of_scikit_learn(classes: int, ignored: float) -> None:
    truth, predicted = _masks(classes, seed=classes)
    truth[torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) < ignored] = IGNORE
    found = scores(confusion(truth, predicted, classes, IGNORE))
    scored = (truth != IGNORE).numpy()
    t, p = truth.numpy()[scored], predicted.numpy()[scored]
    expected = jaccard_score(t, p, labels=range(classes), average=None)
    assert found.iou == pytest.approx(tuple(expected))
    assert found.miou == pytest.approx(expected.mean())
    assert found.pixel_accuracy == pytest.approx((t == p).mean())


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    counts = confusion(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1]), 2, IGNORE)
    assert counts.tolist() == [[1, 2], [0, 1], [0, 0]]


def test_images_are_summed_before_the_ratio() -> None:
    # Class 1: one of 1 pixel in the first image, none of 9 in the second. A mean over images would say 0.5.
    truth = torch.zeros(2, 10, dtype=torch.uint8)
    truth[0, 0], truth[1, :9] = 1, 1
    predicted = torch.zeros(2, 10, dtype=torch.long)
    predicted[0, 0] = 1
    counts = sum(confusion(t, p, 2, IGNORE) for t, p in zip(truth, predicted, strict=True))
    assert scores(counts).iou == pytest.approx((10 / 19, 0.1))
    assert torch.equal(counts, confusion(truth, predicted, 2, IGNORE))


def test_class_absent_from_the_truth_is_left_out_and_none() -> None:
    found = scores(confusion(torch.tensor([0, 0, 2]), torch.tensor([0, 2, 2]), 4, IGNORE))
    assert found.iou == (0.5, None, 0.5, None)
    assert found.miou == 0.5


def test_class_that_is_never_found_counts_0() -> None:
    found = scores(confusion(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]), 2, IGNORE))
    assert found.iou == pytest.approx((2 / 3, 0.0))
    assert found.miou == pytest.approx(1 / 3)


def test_a_stray_pixel_of_a_class_that_does_not_occur_costs_its_own_class_a_pixel_and_no_more() -> None:
    truth = torch.zeros(1000, dtype=torch.long)
    truth[:500] = 1
    stray = truth.clone()
    stray[0] = 2  # by the rule of truth or prediction the mean would fall to two thirds
    found = scores(confusion(truth, stray, 3, IGNORE))
    assert found.iou == pytest.approx((1.0, 499 / 500, None))
    assert found.miou == pytest.approx(0.999)


def test_prediction_on_ignored_pixels_does_not_matter() -> None:
    truth = torch.tensor([0, 1, IGNORE, IGNORE])
    one, other = (confusion(truth, torch.tensor([0, 1, *rest]), 3, IGNORE) for rest in ([2, 2], [0, 1]))
    assert torch.equal(one[:-1], other[:-1])
    assert scores(one) == scores(other)
    assert one[-1].tolist() == [0, 0, 2]


def test_unscored_class_is_left_out_and_its_pixels_are_void() -> None:
    truth, predicted = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 0, 2, 2])
    found = scores(confusion(truth, predicted, 3, IGNORE), unscored=(0,))
    assert found.iou == (None, 0.5, 1.0)  # the prediction of 1 on a pixel of 0 counts nowhere
    assert found.miou == 0.75


def _reference_by_hand(truth: Tensor, predicted: Tensor, classes: int, unscored: int) -> float:
    """Class by class over all pixels, void ones included on the prediction's side."""
    found = []
    for k in range(classes):
        if k == unscored:
            continue
        t, p = truth == k, predicted == k
        found.append(float((t & p).sum() / (t | p).sum()) if (t | p).any() else 0.0)
    return sum(found) / len(found)


@pytest.mark.parametrize("unscored", [0, 99])
def test_reference_rule_counts_predictions_on_void_pixels_and_absent_classes(unscored: int) -> None:
    truth, predicted = _masks(5, seed=3)
    truth[0] = IGNORE
    found = reference_miou(confusion(truth, predicted, 7, IGNORE), (unscored,))
    assert found == pytest.approx(_reference_by_hand(truth, predicted, 7, unscored))
    assert found < scores(confusion(truth, predicted, 7, IGNORE)).miou - 0.1


def test_perfect_prediction_is_1() -> None:
    truth, _ = _masks(5, seed=1)
    found = scores(confusion(truth, truth.long(), 5, IGNORE))
    assert (found.miou, found.pixel_accuracy, found.iou) == (1.0, 1.0, (1.0,) * 5)


def test_nothing_to_score_is_an_error() -> None:
    counts = confusion(torch.full((3, 3), IGNORE), torch.zeros(3, 3, dtype=torch.long), 4, IGNORE)
    with pytest.raises(ValueError, match="every one of them is ignored"):
        scores(counts)
