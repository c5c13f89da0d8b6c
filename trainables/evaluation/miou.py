"""Intersection over union from counts of pixels that are summed over all images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """What the counts say. `iou` has None for a class that the truth does not hold, or that has no score."""

    miou: float
    pixel_accuracy: float
    iou: tuple[float | None, ...]


def confusion(truth: Tensor, predicted: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Counts of pixels, (classes + 1, classes) int64: rows are the truth, columns the prediction.

    The last row counts the predictions on pixels that are void.

    Args:
        truth: class numbers, or `ignore_index` where a pixel is void, any shape.
        predicted: class numbers, the same shape.
    """
    row = torch.where(truth == ignore_index, classes, truth.long())
    pairs = row * classes + predicted.long()
    return torch.bincount(pairs.flatten(), minlength=(classes + 1) * classes).reshape(classes + 1, classes)


def scores(counts: Tensor, unscored: Collection[int] = ()) -> Scores:
    """MIoU over the classes that the truth holds, the pixel accuracy, and each class's IoU; void pixels count nowhere.

    What is averaged over follows from the images alone, so it is the same for every variant. A pixel that is given a
    class that the truth does not hold still counts against the class that it is of.

    Args:
        counts: as `confusion` gives them, (classes + 1, classes).
        unscored: classes whose pixels are void when it comes to scoring, as a background may be.

    Raises:
        ValueError: every pixel is void.

    Source: Everingham et al. 2010 (The PASCAL VOC Challenge), section 4.1.3.
    """
    scored = counts[:-1].clone()
    scored[list(unscored)] = 0
    if not int(scored.sum()):
        raise ValueError("no pixel to score: every one of them is ignored")
    occurs = scored.sum(1).tolist()
    iou = [value if n else None for n, value in zip(occurs, _iou(scored, scored.sum(0)), strict=True)]
    present = [value for value in iou if value is not None]
    accuracy = int(scored.diag().sum()) / int(scored.sum())
    return Scores(sum(present) / len(present), accuracy, tuple(iou))


def reference_miou(counts: Tensor, unscored: Collection[int] = ()) -> float:
    """The mIoU by the rule of the reference implementation, for comparison with published figures only.

    Predictions on void pixels count against their class, and a class that is absent on both sides counts as 0.

    Args:
        counts: as `confusion` gives them, (classes + 1, classes).
        unscored: classes that are left out of the mean; their pixels are not masked.

    Source: ddpm-segmentation, Baranchuk et al. 2022 (arXiv:2112.03126).
    """
    iou = _iou(counts[:-1], counts.sum(0))
    kept = [value or 0.0 for k, value in enumerate(iou) if k not in unscored]
    return sum(kept) / len(kept)


def _iou(counts: Tensor, predicted: Tensor) -> list[float | None]:
    """Each class's intersection over union; None where both sides lack it."""
    hits, either = counts.diag(), predicted + counts.sum(1) - counts.diag()
    return [(h / e) if e else None for h, e in zip(hits.tolist(), either.tolist(), strict=True)]
