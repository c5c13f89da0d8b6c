"""The pixel classifier: an ensemble of MLPs on pixel features, trained side by side as one network.

M members, B pixels of a batch, D features, K classes.

Source: Zhang et al. 2021 (DatasetGAN, arXiv:2104.06490), section 3.1, as used by Baranchuk et al. 2022.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import Segmentation
from trainables.evaluation.features import FeatureMaps
from trainables.progress import Progress
from trainables.randomness import derived_seed, generator

CHUNK = 2**24  # feature values that are gathered at once


class Ensemble(nn.Module):
    """M independent MLPs, D -> hidden (ReLU, batch norm) ... -> K, whose layers are batched matrix products."""

    def __init__(self, features: int, classes: int, segmentation: Segmentation, seed: int) -> None:
        super().__init__()
        self.members, self.classes = segmentation.ensemble_size, classes
        widths = [features, *segmentation.hidden_channels, classes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "classifier init"))
            self.weights = nn.ParameterList(torch.randn(self.members, i, o) * 0.02 for i, o in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(self.members, 1, o) for o in widths[1:])
        self.norms = nn.ModuleList(nn.BatchNorm1d(self.members * o) for o in widths[1:-1])

    def forward(self, x: Tensor) -> Tensor:
        """The logits, (M, B, K).

        Args:
            x: each member's pixels, (M, B, D).
        """
        return self.after_first(x @ self.weights[0])

    def after_first(self, h: Tensor) -> Tensor:
        """The logits, (M, B, K), from the first matrix product, (M, B, hidden)."""
        h = h + self.biases[0]
        for norm, weight, bias in zip(self.norms, list(self.weights)[1:], list(self.biases)[1:], strict=True):
            h = self._normed(norm, F.relu(h)) @ weight + bias
        return h

    def _normed(self, norm: nn.Module, h: Tensor) -> Tensor:
        members, batch, width = h.shape
        flat = norm(h.transpose(0, 1).reshape(batch, members * width))
        return flat.reshape(batch, members, width).transpose(0, 1)

    @torch.no_grad()
    def predict(self, maps: FeatureMaps, image: int) -> Tensor:
        """Each member's class of each pixel of one image, (M, H, W)."""
        self.eval()
        size = maps.image_size
        first = torch.cat([w.T for w in self.weights[0]])  # (M hidden, D)
        h = maps.project(image, first).reshape(self.members, -1, size**2).transpose(1, 2)
        return self.after_first(h).argmax(-1).reshape(self.members, size, size)


def vote(predicted: Tensor, classes: int) -> Tensor:
    """The class that most members chose, (H, W); of several, the smallest.

    Args:
        predicted: the members' classes, (M, H, W).
    """
    counts = F.one_hot(predicted, classes).sum(0)
    # argmax does not promise the first of equals; the tie-break is therefore put into the counts.
    return (counts * classes - torch.arange(classes, device=counts.device)).argmax(-1)


def train(
    maps: FeatureMaps, masks: Tensor, classes: int, ignore_index: int, segmentation: Segmentation, seed: int
) -> Generator[Progress, None, Ensemble]:
    """Progress with the members' mean loss; returns the trained ensemble.

    Args:
        maps: the features of the labelled images.
        masks: their classes, (N, H, W).
        seed: of the trial: initial weights and each member's order of pixels.
    """
    labels = masks.flatten().long()
    labelled = torch.nonzero(labels != ignore_index)[:, 0]
    ensemble = Ensemble(sum(maps.channels), classes, segmentation, seed).to(labels.device).train()
    optimizer = torch.optim.Adam(ensemble.parameters(), lr=segmentation.learning_rate, fused=True)
    batches = len(labelled) // segmentation.batch_size
    if not batches:
        raise ValueError(
            f"segmentation.batch_size must be at most the {len(labelled)} labelled pixels, "
            f"but got {segmentation.batch_size}"
        )
    steps, step = segmentation.epochs * batches, 0
    for epoch in range(segmentation.epochs):
        losses = []
        for x, y in _epoch(maps, labels, labelled, segmentation, seed, epoch):
            loss = F.cross_entropy(ensemble(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad(set_to_none=True)
            # The mean over members must not shrink a member's gradient.
            (loss * ensemble.members).backward()
            optimizer.step()
            losses.append(loss.detach())
            step += 1
        yield Progress(step, steps, {"classifier_loss": float(torch.stack(losses).mean())})
    return ensemble.eval()


def _epoch(
    maps: FeatureMaps, labels: Tensor, labelled: Tensor, segmentation: Segmentation, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y) of one epoch, (M, B, D) and (M, B): every member in its own order."""
    members, batch = segmentation.ensemble_size, segmentation.batch_size
    orders = [
        torch.randperm(len(labelled), generator=generator(seed, "pixels", member, epoch)) for member in range(members)
    ]
    order = labelled[torch.stack(orders).to(labelled.device)]  # (M, pixels)
    features = sum(maps.channels)
    batches = order.shape[1] // batch
    at_once = max(1, CHUNK // (members * batch * features))
    for start in range(0, batches, at_once):
        index = order[:, start * batch : min(start + at_once, batches) * batch]
        x = maps.pixels(index.flatten()).reshape(members, -1, batch, features)
        y = labels[index].reshape(members, -1, batch)
        yield from zip(x.unbind(1), y.unbind(1), strict=True)
