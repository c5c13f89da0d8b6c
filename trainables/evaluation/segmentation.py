"""The segmentation of one trial: pixel classifiers trained on features of labelled images, scored on held-out ones."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainables.checkpoints import Checkpoints
from trainables.data import Dataset
from trainables.evaluation import chosen_images, pixel_classifier
from trainables.evaluation.features import Features, joined
from trainables.evaluation.miou import confusion, reference_miou, scores
from trainables.evaluation.pixel_classifier import Ensemble, Labelled, Prediction
from trainables.progress import Making, Progress, counted
from trainables.sections import Segmentation
from trainables.store import METRICS, write_json

SHOWN_MASKS = 8  # held-out images whose masks are kept for the pictures


class Segmenter:
    """What measures the segmentation that features allow.

    Args:
        data: whose label pool is trained and validated on, and whose held-out images are scored.
        seed: of the trial.
        device: that the features come from.
    """

    def __init__(
        self, features: Features, data: Dataset, settings: Segmentation, seed: int, device: torch.device
    ) -> None:
        self.features, self.data, self.settings, self.seed, self.device = features, data, settings, seed, device
        self.about, self.classes = data.about, len(data.about.class_names)

    def run(self, checkpoints: Checkpoints) -> Making:
        """Progress of the classifier's training, then by scored images; returns what writes scores and masks."""
        chosen, rest = chosen_images.labelled(len(self.data.label_images), self.settings, self.seed)
        labelled = yield from self._labelled(chosen)
        validation = (yield from self._labelled(rest)) if len(rest) else None
        trainer = pixel_classifier.Trainer(labelled, validation, self.classes, self.settings, self.seed)
        ensemble = yield from trainer.run(checkpoints)
        known = trainer.validation  # None where not one of its pixels has a class
        metrics = {"validation_miou": self._validation_miou(ensemble, known)} if known else {}
        del labelled, validation, known, trainer
        return (yield from self._score(ensemble, metrics))

    def _labelled(self, chosen: Tensor) -> Generator[Progress, None, Labelled]:
        """Progress; returns the chosen images of the label pool with their features and masks."""
        images = self.data.label_images[chosen].to(self.device)
        # No part of the classifier's steps, which are what the stage's progress counts.
        maps = yield from counted(joined(self.features.batches(images), len(images)), 0, 0)
        return Labelled(maps, self.data.label_masks[chosen].to(self.device), self.about.ignore_index)

    def _validation_miou(self, ensemble: Ensemble, validation: Labelled) -> float:
        """For choosing between settings: a choice made on the held-out images would flatter them."""
        counts = self._no_counts()
        for i, mask in enumerate(validation.masks.cpu()):
            counts += self._counted(mask, ensemble.predict(validation.maps, i))
        return scores(counts, self.about.unscored_classes).miou

    def _no_counts(self) -> Tensor:
        return torch.zeros(self.classes + 1, self.classes, dtype=torch.int64)

    def _counted(self, mask: Tensor, prediction: Prediction) -> Tensor:
        return confusion(mask, prediction.classes.cpu(), self.classes, self.about.ignore_index)

    def _score(self, ensemble: Ensemble, metrics: dict[str, float]) -> Making:
        chosen = chosen_images.scored(len(self.data.held_out), self.settings)
        images, truth = self.data.held_out[chosen], self.data.held_out_masks[chosen]
        counts, predictions, uncertainties = self._no_counts(), list[Prediction](), list[float]()
        for maps in self.features.batches(images.to(self.device)):
            for i in range(len(maps.maps[0])):
                prediction = ensemble.predict(maps, i)
                counts += self._counted(truth[len(uncertainties)], prediction)
                uncertainties.append(prediction.uncertainty)
                predictions += [prediction] if len(predictions) < SHOWN_MASKS else []
                yield Progress(len(uncertainties), len(truth))
        result = scores(counts, self.about.unscored_classes)
        metrics |= {"miou": result.miou, "pixel_accuracy": result.pixel_accuracy}
        if "reference" in self.settings.miou_rules:
            metrics["miou_reference"] = reference_miou(counts, self.about.unscored_classes)
        metrics["uncertainty"] = float(np.mean(uncertainties))
        iou = dict(zip(self.about.class_names, result.iou, strict=True))
        metrics |= {name: value for name, value in _by_class(iou).items() if value is not None}
        metrics["scored_images"] = float(len(truth))

        def write(folder: Path) -> None:
            write_json(folder / METRICS, metrics)
            write_json(folder / "iou.json", iou)
            np.save(folder / "confusion.npy", counts.numpy())
            self._write_masks(folder / "masks.npz", images, truth, predictions)

        return write

    def _write_masks(self, path: Path, images: Tensor, truth: Tensor, predictions: list[Prediction]) -> None:
        shown = len(predictions)
        np.savez(
            path,
            images=images[:shown].numpy(),
            truth=truth[:shown].numpy(),
            predicted=torch.stack([p.classes for p in predictions]).to(torch.uint8).cpu().numpy(),
            disagreement=torch.stack([p.disagreement for p in predictions]).cpu().numpy(),
            class_names=np.array(self.about.class_names),
            ignore_index=self.about.ignore_index,
        )


def _by_class(iou: dict[str, float | None]) -> dict[str, float | None]:
    """The classes' IoU under names of letters that MLflow takes, no two alike."""
    found: dict[str, float | None] = {}
    for number, (class_name, value) in enumerate(iou.items()):
        name = "iou/" + re.sub(r"[^\w. -]", "_", class_name)
        found[f"{name} {number}" if name in found else name] = value
    return found
