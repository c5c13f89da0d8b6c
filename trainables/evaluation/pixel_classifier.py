"""The pixel classifier: an ensemble of MLPs on pixel features, trained side by side as one network.

M members, B pixels of a batch, D features, K classes.

Source: Zhang et al. 2021 (DatasetGAN, arXiv:2104.06490), section 3.1, as used by Baranchuk et al. 2022.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.checkpoints import Checkpoints, State, on_cpu
from trainables.evaluation.features import FeatureMaps
from trainables.finite import Diverged, check_finite, check_weights
from trainables.progress import Progress
from trainables.randomness import derived_seed, generator
from trainables.sections import Segmentation

CHUNK = 2**24  # feature values that are gathered at once
PREDICT_VALUES = 2**23  # hidden values that are computed at once in a prediction
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
        h = x @ self.weights[0] + self.biases[0]
        for norm, weight, bias in zip(self.norms, list(self.weights)[1:], list(self.biases)[1:], strict=True):
            h = self._normed(norm, F.relu(h)) @ weight + bias
        return h

    def _normed(self, norm: nn.Module, h: Tensor) -> Tensor:
        members, batch, width = h.shape
        flat = norm(h.transpose(0, 1).reshape(batch, members * width))
        return flat.reshape(batch, members, width).transpose(0, 1)

    @torch.no_grad()
    def predict(self, maps: FeatureMaps, image: int) -> Prediction:
        """What the members say of one image. No more of them at once than memory is meant for.

        Raises:
            Diverged: their outputs are not finite.
        """
        self.eval()
        size, hidden = maps.image_size, self.weights[0].shape[2]
        at_once = max(1, PREDICT_VALUES // (hidden * size**2))
        votes, probabilities = [], torch.zeros(size**2, self.classes, device=self.weights[0].device)
        entropy = torch.zeros(size**2, device=probabilities.device)
        for start in range(0, self.members, at_once):
            members = slice(start, start + at_once)
            logits = self._of(maps, image, members)
            votes.append(logits.argmax(-1))
            log_p = logits.log_softmax(-1)
            probabilities += log_p.exp().sum(0) / self.members
            entropy += -(log_p.exp() * log_p).sum((0, 2)) / self.members
        divergence = -torch.special.xlogy(probabilities, probabilities).sum(-1) - entropy
        check_finite([divergence], "the pixel classifier's outputs are")
        classes = vote(torch.cat(votes).reshape(-1, size, size), self.classes)
        return Prediction(classes, divergence.clamp(min=0).reshape(size, size))

    def _of(self, maps: FeatureMaps, image: int, members: slice) -> Tensor:
        """The logits of some members for one image, (m, pixels, K), by running averages in place of a batch's."""
        weights = [weight[members] for weight in self.weights]
        count, _, hidden = weights[0].shape
        first = weights[0].transpose(1, 2).reshape(count * hidden, -1)
        h = maps.project(image, first).reshape(count, hidden, -1).transpose(1, 2) + self.biases[0][members]
        for norm, weight, bias in zip(self.norms, weights[1:], list(self.biases)[1:], strict=True):
            # In eval mode a batch norm is a scale and a shift, which go into the next layer.
            scale, shift = _scale_and_shift(norm, self.members)
            h = h.relu_() @ (weight * scale[members]) + (bias[members] + shift[members].mT @ weight)
        return h


@dataclass(frozen=True)
class Prediction:
    """What an ensemble says of one image.

    Args:
        classes: the majority's, (H, W).
        disagreement: the Jensen-Shannon divergence between the members in nats, (H, W).
    """

    classes: Tensor
    disagreement: Tensor

    @property
    def uncertainty(self) -> float:
        """The mean divergence of the image's most disputed tenth of pixels.

        Source: Baranchuk et al. 2022 (arXiv:2112.03126), as Zhang et al. 2021, section 3.2.
        """
        pixels = self.disagreement.flatten()
        return float(pixels.topk(max(1, len(pixels) // 10)).values.mean())


def _scale_and_shift(norm: nn.Module, members: int) -> tuple[Tensor, Tensor]:
    """What a batch norm does in eval mode, each (M, width, 1)."""
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    return scale.reshape(members, -1, 1), shift.reshape(members, -1, 1)


def vote(predicted: Tensor, classes: int) -> Tensor:
    """The class that most members chose, (H, W); of several, the smallest.

    Args:
        predicted: the members' classes, (M, H, W).
    """
    counts = F.one_hot(predicted, classes).sum(0)
    # argmax does not promise the first of equals; the tie-break is therefore put into the counts.
    return (counts * classes - torch.arange(classes, device=counts.device)).argmax(-1)


@dataclass(frozen=True)
class Labelled:
    """Images with their masks, as the classifier sees them.

    Args:
        maps: the images' features.
        masks: their classes, (N, H, W).
        ignore_index: the mask value of pixels that have no class.
    """

    maps: FeatureMaps
    masks: Tensor
    ignore_index: int

    def pixels(self) -> list[Tensor]:
        """The numbers of the pixels that have a class, one tensor an image."""
        size = self.maps.image_size**2
        known = (self.masks != self.ignore_index).flatten(1)
        return [torch.nonzero(row)[:, 0] + i * size for i, row in enumerate(known)]


class Trainer:
    """One ensemble in training, for a fixed number of epochs. `run` trains to the end.

    Args:
        labelled: what is trained on.
        validation: other images, on which the loss is measured after each epoch; None for no such measure.
        classes: K.
        seed: of the trial: initial weights and each member's order of pixels.

    Raises:
        ValueError: fewer pixels than a batch needs.
    """

    def __init__(
        self, labelled: Labelled, validation: Labelled | None, classes: int, segmentation: Segmentation, seed: int
    ) -> None:
        self.labelled, self.segmentation, self.seed = labelled, segmentation, seed
        self.validation = validation if validation and any(map(len, validation.pixels())) else None
        maps, device = labelled.maps, labelled.masks.device
        self.ensemble = Ensemble(sum(maps.channels), classes, segmentation, seed).to(device).train()
        self.optimizer = torch.optim.Adam(self.ensemble.parameters(), lr=segmentation.learning_rate, fused=True)
        self.batches = len(_order(labelled, segmentation, seed, 0, 0)) // segmentation.batch_size
        self.epoch = 0
        self.losses: list[Tensor] = []  # of this epoch so far
        self.history: list[tuple[int, dict[str, float]]] = []
        if not self.batches:
            counts = [len(pixels) for pixels in labelled.pixels()]
            by_image = segmentation.pixel_order == "by_image"
            most = f"{max(counts)} labelled pixels of an image" if by_image else f"{sum(counts)} labelled pixels"
            raise ValueError(f"segmentation.batch_size must be at most the {most}, but got {segmentation.batch_size}")

    def run(self, checkpoints: Checkpoints | None = None) -> Generator[Progress, None, Ensemble]:
        """Progress with the members' mean losses after each epoch; returns the trained ensemble.

        Args:
            checkpoints: where to save the state now and then, and to go on from if there is one.

        Raises:
            Diverged: a loss or a weight is not finite.
        """
        if checkpoints and (state := checkpoints.latest()):
            self.load_state(state)
        steps = self.segmentation.epochs * self.batches
        yield Progress(self.step, steps, history=self.history)
        while self.epoch < self.segmentation.epochs:
            for x, y in _epoch(self.labelled, self.segmentation, self.seed, self.epoch, len(self.losses)):
                self.losses.append(self._train_step(x, y))
                if len(self.losses) % HEARTBEAT_STEPS == 0:
                    yield Progress(self.step, steps)
                if checkpoints and len(self.losses) < self.batches:
                    checkpoints.save_now_and_then(self.step, self.state)
            self.epoch += 1
            metrics = {"classifier_loss": float(torch.stack(self.losses).mean())}
            self.losses = []
            if self.validation is not None:
                metrics["classifier_validation_loss"] = self._validation_loss(self.validation)
            if not all(map(math.isfinite, metrics.values())):
                raise Diverged(f"in epoch {self.epoch} of the pixel classifier: {metrics}")
            self.history.append((self.step, metrics))
            yield Progress(self.step, steps, metrics)
            if checkpoints:
                checkpoints.save_now_and_then(self.step, self.state)
        check_weights(self.ensemble, "the trained pixel classifier")
        return self.ensemble.eval()

    @property
    def step(self) -> int:
        """How many batches have been trained on."""
        return self.epoch * self.batches + len(self.losses)

    def state(self) -> State:
        """All that the next batch depends on, as copies on the CPU."""
        parts = {
            "ensemble": self.ensemble.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
        }
        return {"epoch": self.epoch, "history": list(self.history), **on_cpu(parts)}

    def load_state(self, state: State) -> None:
        """Goes on from another trainer's `state`."""
        self.epoch, self.history = state["epoch"], list(state["history"])
        self.losses = [loss.to(self.labelled.masks.device) for loss in state.get("losses", [])]
        self.ensemble.load_state_dict(state["ensemble"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _train_step(self, x: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(self.ensemble(x).flatten(0, 1), y.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        # The mean over members must not shrink a member's gradient.
        (loss * self.ensemble.members).backward()
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _validation_loss(self, validation: Labelled) -> float:
        self.ensemble.eval()
        index, total = torch.cat(validation.pixels()), 0.0
        for part in index.split(max(1, CHUNK // (self.ensemble.members * sum(validation.maps.channels)))):
            x = validation.maps.pixels(part).expand(self.ensemble.members, -1, -1)
            y = validation.masks.flatten()[part].long().expand(self.ensemble.members, -1)
            total += float(F.cross_entropy(self.ensemble(x).flatten(0, 1), y.flatten(), reduction="sum"))
        self.ensemble.train()
        return total / (self.ensemble.members * len(index))


def _order(labelled: Labelled, segmentation: Segmentation, seed: int, member: int, epoch: int) -> Tensor:
    """The pixels of one epoch as a member takes them: all of them shuffled, or image by image in whole batches."""
    rng, pixels = generator(seed, "pixels", member, epoch), labelled.pixels()
    if segmentation.pixel_order == "shuffled":
        every = torch.cat(pixels)
        return every[torch.randperm(len(every), generator=rng).to(every.device)]
    parts = []
    for i in torch.randperm(len(pixels), generator=rng).tolist():
        shuffled = pixels[i][torch.randperm(len(pixels[i]), generator=rng).to(pixels[i].device)]
        parts.append(shuffled[: len(shuffled) // segmentation.batch_size * segmentation.batch_size])
    return torch.cat(parts)


def _epoch(
    labelled: Labelled, segmentation: Segmentation, seed: int, epoch: int, done: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y) of one epoch, (M, B, D) and (M, B), after the first `done`: every member in its own order."""
    members, batch = segmentation.ensemble_size, segmentation.batch_size
    order = torch.stack([_order(labelled, segmentation, seed, member, epoch) for member in range(members)])
    labels, features = labelled.masks.flatten(), sum(labelled.maps.channels)
    batches = order.shape[1] // batch
    at_once = max(1, CHUNK // (members * batch * features))
    for start in range(done // at_once * at_once, batches, at_once):
        index = order[:, start * batch : min(start + at_once, batches) * batch]
        x = labelled.maps.pixels(index.flatten()).reshape(members, -1, batch, features)
        y = labels[index].long().reshape(members, -1, batch)
        skipped = max(0, done - start)
        yield from zip(x.unbind(1)[skipped:], y.unbind(1)[skipped:], strict=True)
