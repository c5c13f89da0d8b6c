"""Intersection over union from a confusion matrix that is summed over all images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says. `iou` has None for a class that neither truth nor prediction holds."""

    miou: float
    pixel_accuracy: float
    iou: tuple[float | None, ...]


def confusion(truth: Tensor, predicted: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Counts of pixels, (classes, classes) int64: rows are the truth, columns the prediction.

    Args:
        truth: class numbers, or `ignore_index` where a pixel is not scored, any shape.
        predicted: class numbers, the same shape.
    """
    scored = truth != ignore_index
    pairs = truth[scored].long() * classes + predicted[scored].long()
    return torch.bincount(pairs.flatten(), minlength=classes**2).reshape(classes, classes)


def scores(counts: Tensor) -> Scores:
    """MIoU over the classes that occur, the pixel accuracy, and each class's IoU.

    Args:
        counts: a confusion matrix, (classes, classes).

    Source: Everingham et al. 2010 (The PASCAL VOC Challenge), section 4.1.3; classes absent from both sides are
    left out of the mean rather than counted as 0.
    """
    hits, either = counts.diag(), counts.sum(0) + counts.sum(1) - counts.diag()
    iou = tuple((h / e) if e else None for h, e in zip(hits.tolist(), either.tolist(), strict=True))
    present = [value for value in iou if value is not None]
    total = int(counts.sum())
    if not present:
        raise ValueError("no pixel to score: every one of them is ignored")
    return Scores(sum(present) / len(present), int(hits.sum()) / total, iou)
