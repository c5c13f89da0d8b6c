"""The making of each stage's output. A maker yields its progress and returns what writes the output into a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from trainables import training
from trainables.checkpoints import Checkpoints
from trainables.config import Config
from trainables.data import Dataset
from trainables.diffusion.process import Process
from trainables.evaluation import fid, pixel_classifier
from trainables.evaluation.features import DecoderOutputs, Features, PixelValues, joined
from trainables.evaluation.miou import confusion, reference_miou, scores
from trainables.evaluation.pixel_classifier import Labelled, Prediction
from trainables.inputs import Inputs
from trainables.progress import Progress
from trainables.randomness import generator
from trainables.sampling import draw
from trainables.store import Artefact
from trainables.unet import guided_diffusion
from trainables.unet.unet import UNet

SHOWN_MASKS = 8  # held-out images whose masks are kept for the pictures

T = TypeVar("T")
Write = Callable[[Path], None]
Making = Generator[Progress, None, Write]


class Maker:
    """Makes the stages of one trial on one device.

    Args:
        artefacts: the stages that are there already, by name; those before a stage are, when it is made.
        parts: that a batch is computed in, where the GPU's memory is short.
    """

    def __init__(
        self, config: Config, data: Dataset, device: torch.device, inputs: Inputs, artefacts: Mapping[str, Artefact]
    ) -> None:
        self.config, self.data, self.device, self.inputs, self.artefacts = config, data, device, inputs, artefacts
        self.parts = 1
        self._makers = {
            "ddpm": self._ddpm,
            "samples": self._samples,
            "reference": self._reference,
            "fid": self._fid,
            "segmentation": self._segmentation,
        }

    def make(self, stage: str, checkpoints: Checkpoints) -> Making:
        """The making of `stage`."""
        return self._makers[stage](checkpoints)

    def _ddpm(self, checkpoints: Checkpoints) -> Making:
        trainer = training.Trainer(self.config, self.data.train.to(self.device), self.parts)
        yield from trainer.run(checkpoints)
        weights = {name: v.contiguous() for name, v in trainer.ema.state_dict().items()}

        def write(folder: Path) -> None:
            # By way of memory: the library's own file writer reports a full disk as something other than an OSError.
            (folder / "ema.safetensors").write_bytes(save(weights))

        return write

    def _model(self) -> UNet:
        model = training.build(self.config, self.data.about.image_channels, self.device)
        model.load_state_dict(load_file(self.artefacts["ddpm"] / "ema.safetensors", device=str(self.device)))
        return model.requires_grad_(False).eval()

    def _samples(self, checkpoints: Checkpoints) -> Making:
        sampling = self.config.sampling
        if sampling.source == "held_out":
            # Real images, as many as a model draws: what the metric says of a perfect model at this sample count.
            chosen = torch.randperm(len(self.data.held_out), generator=generator(self.config.seed, "held out"))
            real = self.data.held_out[chosen[: sampling.samples]][None].numpy()
            return lambda folder: np.save(folder / "samples.npy", real)
        model = InParts(self._model(), self.parts)
        drawn = yield from draw(self.config, model, self.data.train.shape[1:], self.device, checkpoints)

        def write(folder: Path) -> None:
            np.save(folder / "samples.npy", drawn.samples(sampling.sampling_repeats))
            frames, timesteps = np.stack(drawn.frames), np.array(drawn.timesteps)
            np.savez(folder / "denoising.npz", frames=frames, timesteps=timesteps)

        return write

    def _reference(self, checkpoints: Checkpoints) -> Making:
        wanted, images = self.config.fid.reference_images, self.data.train
        if 0 < wanted < len(images):
            images = images[torch.randperm(len(images), generator=generator(0, "reference"))[:wanted]]
        features = yield from self._extracted(self._networks(), images, 0, len(images))
        reference = fid.Reference.of(features, self.config.fid.metrics)
        return reference.save

    def _fid(self, checkpoints: Checkpoints) -> Making:
        samples = torch.from_numpy(np.load(self.artefacts["samples"] / "samples.npy"))
        reference = fid.Reference.load(self.artefacts["reference"].folder)
        metrics, networks, repeats = self.config.fid.metrics, self._networks(), []
        for repeat, images in enumerate(samples):
            total = samples.shape[0] * samples.shape[1]
            features = yield from self._extracted(networks, images, repeat * len(images), total)
            repeats.append(fid.distances(metrics, features, reference, self.config.seed))
        values = {name: [repeat[name] for repeat in repeats] for name in repeats[0]}
        # Repeats of one model are averaged, not taken for replicates: their spread is the sampling's alone.
        means = {name: float(np.mean(v)) for name, v in values.items()}
        spreads = {f"{name}_repeats_sd": float(np.std(values[name], ddof=0)) for name in metrics}
        count = {"samples": float(samples.shape[1])}

        def write(folder: Path) -> None:
            _write_json(folder / "metrics.json", means | spreads | count)
            _write_json(folder / "repeats.json", values)

        return write

    def _networks(self) -> dict[str, fid.Extractor]:
        return fid.extractors(self.config.fid.metrics, self.device)

    def _extracted(
        self, networks: dict[str, fid.Extractor], images: Tensor, before: int, total: int
    ) -> Generator[Progress, None, dict[str, fid.Features]]:
        """Progress, `before` of `total` images being done already; returns the features of `images`."""
        return (yield from _progress(fid.extracted(networks, images.to(self.device)), before, total))

    def _segmentation(self, checkpoints: Checkpoints) -> Making:
        config, features = self.config.segmentation, self._features()
        chosen = torch.randperm(len(self.data.label_images), generator=generator(self.config.seed, "labels"))
        chosen, rest = chosen[: config.label_images], chosen[config.label_images :][: config.validation_images]
        labelled = yield from self._labelled(features, chosen)
        validation = (yield from self._labelled(features, rest)) if len(rest) else None
        classes = len(self.data.about.class_names)
        trainer = pixel_classifier.Trainer(labelled, validation, classes, config, self.config.seed)
        ensemble = yield from trainer.run(checkpoints)
        known = trainer.validation  # None where not one of its pixels has a class
        metrics = {"validation_miou": self._validation_miou(ensemble, known)} if known else {}
        del labelled, validation, known, trainer
        return (yield from self._score(ensemble, features, metrics))

    def _validation_miou(self, ensemble: pixel_classifier.Ensemble, validation: Labelled) -> float:
        """For choosing between settings: a choice made on the held-out images would flatter them."""
        counts = self._no_counts()
        for i, mask in enumerate(validation.masks.cpu()):
            counts += self._counted(mask, ensemble.predict(validation.maps, i))
        return scores(counts, self.data.about.unscored_classes).miou

    def _no_counts(self) -> Tensor:
        classes = len(self.data.about.class_names)
        return torch.zeros(classes + 1, classes, dtype=torch.int64)

    def _counted(self, mask: Tensor, prediction: Prediction) -> Tensor:
        about = self.data.about
        return confusion(mask, prediction.classes.cpu(), len(about.class_names), about.ignore_index)

    def _features(self) -> Features:
        config, pretrained = self.config.segmentation, self.config.pretrained
        if config.features == "pixels":
            return PixelValues()
        network = self._model() if pretrained is None else self._pretrained()
        process = Process(self.config.diffusion).to(self.device)
        return DecoderOutputs(network, process, config.timesteps, config.blocks, self.config.seed, self.parts)

    def _pretrained(self) -> guided_diffusion.GuidedUNet:
        settings, channels, size = self.config.pretrained, self.data.about.image_channels, self.config.data.image_size
        assert settings is not None
        if settings.weights == "random":
            return guided_diffusion.random_unet(settings, channels, size, self.config.seed, self.device)
        if self.inputs.checkpoint is None:
            raise ValueError("pretrained.weights: the file of these weights must be given")
        return guided_diffusion.load_checkpoint(self.inputs.checkpoint, settings, channels, size, self.device)

    def _labelled(self, features: Features, chosen: Tensor) -> Generator[Progress, None, Labelled]:
        """Progress; returns the chosen images of the label pool with their features and masks."""
        images = self.data.label_images[chosen].to(self.device)
        # No part of the classifier's steps, which are what the stage's progress counts.
        maps = yield from _progress(joined(features.batches(images), len(images)), 0, 0)
        return Labelled(maps, self.data.label_masks[chosen].to(self.device), self.data.about.ignore_index)

    def _score(self, ensemble: pixel_classifier.Ensemble, features: Features, metrics: dict[str, float]) -> Making:
        about, config = self.data.about, self.config.segmentation
        images, truth = self._scored()
        counts, predictions, uncertainties = self._no_counts(), list[Prediction](), list[float]()
        for maps in features.batches(images.to(self.device)):
            for i in range(len(maps.maps[0])):
                prediction = ensemble.predict(maps, i)
                counts += self._counted(truth[len(uncertainties)], prediction)
                uncertainties.append(prediction.uncertainty)
                predictions += [prediction] if len(predictions) < SHOWN_MASKS else []
                yield Progress(len(uncertainties), len(truth))
        result = scores(counts, about.unscored_classes)
        metrics |= {"miou": result.miou, "pixel_accuracy": result.pixel_accuracy}
        if "reference" in config.miou_rules:
            metrics["miou_reference"] = reference_miou(counts, about.unscored_classes)
        metrics["uncertainty"] = float(np.mean(uncertainties))
        iou = dict(zip(about.class_names, result.iou, strict=True))
        metrics |= {name: value for name, value in _by_class(iou).items() if value is not None}
        metrics["scored_images"] = float(len(truth))

        def write(folder: Path) -> None:
            _write_json(folder / "metrics.json", metrics)
            _write_json(folder / "iou.json", iou)
            np.save(folder / "confusion.npy", counts.numpy())
            self._write_masks(folder / "masks.npz", images, truth, predictions)

        return write

    def _scored(self) -> tuple[Tensor, Tensor]:
        """The held-out images that are scored, and their masks: the same for every seed."""
        wanted, images, masks = self.config.segmentation.held_out_images, self.data.held_out, self.data.held_out_masks
        if wanted >= len(images):
            return images, masks
        chosen = torch.randperm(len(images), generator=generator(0, "scored"))[:wanted].sort().values
        return images[chosen], masks[chosen]

    def _write_masks(self, path: Path, images: Tensor, truth: Tensor, predictions: list[Prediction]) -> None:
        shown = len(predictions)
        np.savez(
            path,
            images=images[:shown].numpy(),
            truth=truth[:shown].numpy(),
            predicted=torch.stack([p.classes for p in predictions]).to(torch.uint8).cpu().numpy(),
            disagreement=torch.stack([p.disagreement for p in predictions]).cpu().numpy(),
            class_names=np.array(self.data.about.class_names),
            ignore_index=self.data.about.ignore_index,
        )


class InParts(nn.Module):
    """A network that takes its batch in `parts`, one after the other: less memory, the same output."""

    def __init__(self, network: nn.Module, parts: int) -> None:
        super().__init__()
        self.network, self.parts = network, parts

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's output, (B, C, H, W)."""
        if self.parts == 1:
            return self.network(x_t, t)
        parts = min(self.parts, len(x_t))
        halves = zip(x_t.tensor_split(parts), t.tensor_split(parts), strict=True)
        return torch.cat([self.network(x, at) for x, at in halves])


def _progress(counts: Generator[int, None, T], before: int, total: int) -> Generator[Progress, None, T]:
    """Progress by the counts, `before` of `total` (0: not known) being done already; returns what they return."""
    while True:
        try:
            done = next(counts)
        except StopIteration as end:
            return cast(T, end.value)
        yield Progress(min(before + done, total), total)


def _by_class(iou: dict[str, float | None]) -> dict[str, float | None]:
    """The classes' IoU under names of letters that MLflow takes, no two alike."""
    found: dict[str, float | None] = {}
    for number, (class_name, value) in enumerate(iou.items()):
        name = "iou/" + re.sub(r"[^\w. -]", "_", class_name)
        found[f"{name} {number}" if name in found else name] = value
    return found


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))
