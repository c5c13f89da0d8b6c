"""What nearest neighbours among features tell of samples: precision, recall, density, coverage, and copies.

N real images, M samples, D features of each. Distances are Euclidean, in float64, as |a|^2 + |b|^2 - 2 a.b cancels
where two images are nearly the same; never more than `CHUNK` of them are held at once. The radius of an image is its
distance to the k-th nearest other image of its set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 2**24  # distances that are held at once: 128 MiB
COPY = 1 / 3  # below it the ratio of the first to the second distance is a copy's
SAME = 1e-5  # of a feature's length: nearer is the same image, whose float32 features differ with its batch

Floats = NDArray[np.float64]


def radii(features: Floats, k: int, device: torch.device) -> Floats:
    """The distance of each image to the k-th nearest other image of the set, (N,).

    Args:
        features: (N, D).
        k: 1 to N - 1.
        device: that the distances are computed on.

    Raises:
        ValueError: too few images for a k-th neighbour.
    """
    if not 1 <= k < len(features):
        raise ValueError(f"k must be from 1 to {len(features) - 1} for {len(features)} images, but got {k}")
    on_device, found = _on(features, device), []
    for rows, distances in _distances(on_device, on_device):
        distances[torch.arange(len(distances)), torch.arange(rows.start, rows.stop)] = (
            torch.inf
        )  # not its own neighbour
        found.append(distances.topk(k, largest=False).values.amax(1))
    return torch.cat(found).cpu().numpy()


def prdc(samples: Floats, real: Floats, real_radii: Floats, k: int, device: torch.device) -> dict[str, float]:
    """Precision, recall, density and coverage, by these names.

    precision: the share of samples that lie within the radius of some real image.
    recall: the share of real images that lie within the radius of some sample.
    density: the mean over samples of how many real images' radii they lie within, divided by k; it may exceed 1.
    coverage: the share of real images within whose radius some sample lies.

    Args:
        samples: (M, D).
        real: (N, D).
        real_radii: (N,), as `radii` gives them for `real` and k.
        k: 1 to M - 1; of the samples' radii.

    Raises:
        ValueError: as `radii`.

    Source: Kynkaanniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2; Naeem et al. 2020 (arXiv:2002.09797),
    section 3.
    """
    own, reach = _on(radii(samples, k, device), device), _on(real_radii, device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=device)
    recalled = torch.zeros_like(covered)
    precise = within = 0
    for rows, distances in _distances(_on(samples, device), _on(real, device)):
        inside = distances <= reach
        precise += int(inside.any(1).sum())
        within += int(inside.sum())
        covered |= inside.any(0)
        recalled |= (distances <= own[rows, None]).any(0)
    return {
        "precision": precise / len(samples),
        "recall": int(recalled.sum()) / len(real),
        "density": within / (k * len(samples)),
        "coverage": int(covered.sum()) / len(real),
    }


@dataclass(frozen=True)
class Nearest:
    """Of each sample the nearest real image.

    Args:
        image: its number among the real images, (M,).
        ratio: the distance to it, divided by the distance to the second nearest, (M,), 0 to 1; 0 is a copy.
    """

    image: NDArray[np.int64]
    ratio: Floats

    @property
    def copies(self) -> float:
        """The share of samples that are nearer to one real image than a third of the distance to the second nearest.

        Source: Yoon et al. 2023, Diffusion probabilistic models generalize when they fail to memorize; Gu et al. 2023
        (arXiv:2310.02664), who count with it. Both have pixels in place of features.
        """
        return float(np.mean(self.ratio < COPY))


def nearest(samples: Floats, real: Floats, device: torch.device) -> Nearest:
    """The nearest real image of each sample.

    Of an image that is several times among the real ones a copy has several at the distance 0: its ratio is 0 too.

    Args:
        samples: (M, D).
        real: (N, D), N at least 2.
        device: that the distances are computed on.
    """
    on_device = _on(real, device)
    lengths, images, ratios = (on_device * on_device).sum(1).sqrt(), list[Tensor](), list[Tensor]()
    for _, distances in _distances(_on(samples, device), on_device):
        (first, second), (image, _) = (part.unbind(1) for part in distances.topk(2, largest=False))
        ratios.append(torch.where(first <= SAME * lengths[image], 0.0, first / second))
        images.append(image)
    return Nearest(torch.cat(images).cpu().numpy(), torch.cat(ratios).cpu().numpy())


def _on(features: Floats, device: torch.device) -> Tensor:
    return torch.from_numpy(features).to(device)


def _distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some rows after the other of the distances between (N, D) and (M, D): which of the N, and (rows, M)."""
    squares, rows = (b * b).sum(1), max(1, CHUNK // len(b))
    for start in range(0, len(a), rows):
        part = a[start : start + rows]
        squared = torch.addmm(squares[None], part, b.T, alpha=-2).add_((part * part).sum(1)[:, None])
        yield slice(start, start + len(part)), squared.clamp_(min=0).sqrt_()
