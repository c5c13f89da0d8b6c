"""Which images of a dataset a trial labels, validates on and scores."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.randomness import generator
from trainables.sections import Segmentation


def labelled(images: int, settings: Segmentation, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of the images of the label pool that are trained on, and of those that are validated on.

    Args:
        images: in the pool.
        seed: of the trial.
    """
    chosen = torch.randperm(images, generator=generator(seed, "labels"))
    return chosen[: settings.label_images], chosen[settings.label_images :][: settings.validation_images]


def scored(images: int, settings: Segmentation) -> Tensor:
    """The numbers of the held-out images that are scored, rising: the same for every seed.

    Args:
        images: that are held out.
    """
    if settings.held_out_images >= images:
        return torch.arange(images)
    chosen = torch.randperm(images, generator=generator(0, "scored"))
    return chosen[: settings.held_out_images].sort().values
