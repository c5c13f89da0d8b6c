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

from trainables.checkpoints import Checkpoints, State, on_cpu
from trainables.config import Segmentation
from trainables.evaluation.features import FeatureMaps
from trainables.progress import Progress
from trainables.randomness import derived_seed, generator

CHUNK = 2**24  # feature values that are gathered at once
HEARTBEAT_STEPS = 50  # a progress record at least so often


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


class Trainer:
    """One ensemble in training, for a fixed number of epochs. `run` trains to the end.

    Args:
        maps: the features of the labelled images.
        masks: their classes, (N, H, W).
        classes: K.
        ignore_index: the mask value of pixels that are not trained on.
        seed: of the trial: initial weights and each member's order of pixels.
    """

    def __init__(
        self, maps: FeatureMaps, masks: Tensor, classes: int, ignore_index: int, segmentation: Segmentation, seed: int
    ) -> None:
        self.maps, self.segmentation, self.seed = maps, segmentation, seed
        self.labels = masks.flatten().long()
        self.labelled = torch.nonzero(self.labels != ignore_index)[:, 0]
        self.ensemble = Ensemble(sum(maps.channels), classes, segmentation, seed).to(self.labels.device).train()
        self.optimizer = torch.optim.Adam(self.ensemble.parameters(), lr=segmentation.learning_rate, fused=True)
        self.batches = len(self.labelled) // segmentation.batch_size
        self.epoch = 0
        self.history: list[tuple[int, dict[str, float]]] = []
        if not self.batches:
            raise ValueError(
                f"segmentation.batch_size must be at most the {len(self.labelled)} labelled pixels, "
                f"but got {segmentation.batch_size}"
            )

    def run(self, checkpoints: Checkpoints | None = None) -> Generator[Progress, None, Ensemble]:
        """Progress with the members' mean loss after each epoch; returns the trained ensemble.

        Args:
            checkpoints: where to save the state between epochs now and then, and to go on from if there is one.
        """
        if checkpoints and (state := checkpoints.latest()):
            self.load_state(state)
        steps = self.segmentation.epochs * self.batches
        yield Progress(self.epoch * self.batches, steps, history=self.history)
        while self.epoch < self.segmentation.epochs:
            losses: list[Tensor] = []
            for x, y in _epoch(self.maps, self.labels, self.labelled, self.segmentation, self.seed, self.epoch):
                losses.append(self._train_step(x, y))
                if len(losses) % HEARTBEAT_STEPS == 0:
                    yield Progress(self.epoch * self.batches + len(losses), steps)
            self.epoch += 1
            self.history.append((self.epoch * self.batches, {"classifier_loss": float(torch.stack(losses).mean())}))
            yield Progress(self.history[-1][0], steps, self.history[-1][1])
            if checkpoints:
                checkpoints.save_now_and_then(self.epoch, self.state)
        return self.ensemble.eval()

    def state(self) -> State:
        """All that the next epoch depends on, as copies on the CPU."""
        parts = {"ensemble": self.ensemble.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {"epoch": self.epoch, "history": list(self.history), **on_cpu(parts)}

    def load_state(self, state: State) -> None:
        """Goes on from another trainer's `state`."""
        self.epoch, self.history = state["epoch"], list(state["history"])
        self.ensemble.load_state_dict(state["ensemble"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _train_step(self, x: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(self.ensemble(x).flatten(0, 1), y.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        # The mean over members must not shrink a member's gradient.
        (loss * self.ensemble.members).backward()
        self.optimizer.step()
        return loss.detach()


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
