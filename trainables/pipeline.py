"""One trial: the stages in order, each made once and stored.

    for record in run_trial(config, store):   # progress, metrics with their steps, and last the result
        ...

It needs neither Ray nor MLflow: the orchestrator passes the records on, a notebook may print them.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainables import sampling
from trainables.config import Config
from trainables.data import Dataset, load
from trainables.diffusion.process import Process
from trainables.evaluation import pixel_classifier
from trainables.evaluation.features import FeatureMaps, pixel_features, unet_features
from trainables.evaluation.fid import DigitsFid
from trainables.evaluation.miou import confusion, scores
from trainables.progress import Progress
from trainables.randomness import generator
from trainables.stages import stage_keys
from trainables.store import Artefact, Store
from trainables.training import Trainer, build
from trainables.unet.unet import UNet

SHOWN_MASKS = 8  # held-out images whose masks are kept for the pictures

Making = Generator[Progress, None, None]


@dataclass
class Record:
    """One message of a running trial. `metrics` belong to `step` of `stage`; `result` comes once, at the end."""

    stage: str
    step: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    result: dict[str, Any] | None = None


def run_trial(config: Config, store: Store, device: str = "cpu") -> Generator[Record, None, None]:
    """The records of one trial. The last one's `result` has `metrics`, `artefacts` and the stages' `wall_time_s`.

    Raises:
        Diverged: the training's loss is not finite.
    """
    trial = Trial(config, store, torch.device(device))
    for stage in trial.keys:
        for progress in trial.made(stage):
            yield Record(stage, progress.step, progress.steps, progress.metrics)
    yield Record("done", 1, 1, result=trial.result())


class Trial:
    """The stages of one trial on one device."""

    def __init__(self, config: Config, store: Store, device: torch.device) -> None:
        self.config, self.store, self.device = config, store, device
        self.data: Dataset = load(config.data)
        self.keys = stage_keys(config, self.data.about)
        self.artefacts: dict[str, Artefact] = {}
        self._makers: dict[str, Callable[[Path], Making]] = {
            "ddpm": self._ddpm,
            "samples": self._samples,
            "fid": self._fid,
            "segmentation": self._segmentation,
        }

    def made(self, stage: str) -> Making:
        """Progress of making `stage`; one that is in the store is not made again, its loss curve is told anew."""
        found = self.store.find(stage, self.keys[stage])
        if found is None:
            found = yield from self._make(stage)
        elif stage == "ddpm":
            yield from (Progress(step, step, {"loss": loss}) for step, loss in found.json("loss.json"))
        self.artefacts[stage] = found

    def _make(self, stage: str) -> Generator[Progress, None, Artefact]:
        facts: dict[str, Any] = {"machine": platform.node(), "device": _device_name(self.device)}
        start = time.monotonic()
        with self.store.publish(stage, self.keys[stage], facts) as folder:
            yield from self._makers[stage](folder)
            facts["wall_time_s"] = time.monotonic() - start
        found = self.store.find(stage, self.keys[stage])
        if found is None:
            raise OSError(f"{stage} was written to {self.store.root} and cannot be read back")
        return found

    def result(self) -> dict[str, Any]:
        """The trial's figures, the folders that they came from, and the time that making them took."""
        metrics: dict[str, float] = {}
        for stage in ("fid", "segmentation"):
            if stage in self.artefacts:
                metrics |= self.artefacts[stage].json("metrics.json")
        times = {stage: artefact.facts["wall_time_s"] for stage, artefact in self.artefacts.items()}
        folders = {stage: str(artefact.folder) for stage, artefact in self.artefacts.items()}
        machine = f"{platform.node()}, {_device_name(self.device)}"
        return {"metrics": metrics, "artefacts": folders, "wall_time_s": times, "machine": machine}

    def _ddpm(self, folder: Path) -> Making:
        trainer = Trainer(self.config, self.data.train.to(self.device))
        yield Progress(0, self.config.training.train_steps)
        yield from trainer.run()
        save_file({name: v.contiguous() for name, v in trainer.ema.state_dict().items()}, folder / "ema.safetensors")
        (folder / "loss.json").write_text(json.dumps(trainer.losses))

    def _model(self) -> UNet:
        model = build(self.config, self.data.about.image_channels, self.device)
        model.load_state_dict(load_file(self.artefacts["ddpm"] / "ema.safetensors", device=str(self.device)))
        return model.requires_grad_(False).eval()

    def _samples(self, folder: Path) -> Making:
        if self.config.sampling.source == "held_out":
            # Real images, as many as a model draws: what the metric says of a perfect model at this sample count.
            chosen = torch.randperm(len(self.data.held_out), generator=generator(self.config.seed, "held out"))
            np.save(folder / "samples.npy", self.data.held_out[chosen[: self.config.sampling.samples]][None].numpy())
            yield Progress(1, 1)
            return
        drawn = yield from sampling.draw(self.config, self._model(), self.data.train.shape[1:])
        np.save(folder / "samples.npy", drawn.samples)
        np.savez(folder / "denoising.npz", frames=drawn.frames, timesteps=np.array(drawn.timesteps))

    def _fid(self, folder: Path) -> Making:
        samples = torch.from_numpy(np.load(self.artefacts["samples"] / "samples.npy"))
        fid = DigitsFid(self.data.train.to(self.device))
        values = []
        for repeat, images in enumerate(samples, start=1):
            values.append(fid(images.to(self.device)))
            yield Progress(repeat, len(samples))
        # Repeats of one model are averaged, not taken for replicates: their spread is the sampling's alone.
        metrics = {"fid_digits": float(np.mean(values)), "fid_digits_repeats_sd": float(np.std(values, ddof=0))}
        _write_json(folder / "metrics.json", metrics)
        _write_json(folder / "repeats.json", values)

    def _segmentation(self, folder: Path) -> Making:
        config, about = self.config.segmentation, self.data.about
        chosen = torch.randperm(len(self.data.label_images), generator=generator(self.config.seed, "labels"))
        chosen = chosen[: config.label_images]
        masks = self.data.label_masks[chosen].to(self.device)
        maps = yield from self._feature_maps(self.data.label_images[chosen])
        ensemble = yield from pixel_classifier.train(
            maps, masks, len(about.class_names), about.ignore_index, config, self.config.seed
        )
        held_out = yield from self._feature_maps(self.data.held_out)
        yield from self._score(ensemble, held_out, folder)

    def _score(self, ensemble: pixel_classifier.Ensemble, maps: FeatureMaps, folder: Path) -> Making:
        about, truth = self.data.about, self.data.held_out_masks
        classes = len(about.class_names)
        counts, shown = torch.zeros(classes, classes, dtype=torch.int64), []
        for i, mask in enumerate(truth):
            predicted = pixel_classifier.vote(ensemble.predict(maps, i), classes).cpu()
            counts += confusion(mask, predicted, classes, about.ignore_index)
            if i < SHOWN_MASKS:
                shown.append(predicted.to(torch.uint8).numpy())
            yield Progress(i + 1, len(truth))
        result = scores(counts)
        _write_json(folder / "metrics.json", {"miou": result.miou, "pixel_accuracy": result.pixel_accuracy})
        _write_json(folder / "iou.json", dict(zip(about.class_names, result.iou, strict=True)))
        np.savez(
            folder / "masks.npz",
            images=self.data.held_out[:SHOWN_MASKS].numpy(),
            truth=truth[:SHOWN_MASKS].numpy(),
            predicted=np.stack(shown),
            class_names=np.array(about.class_names),
            ignore_index=about.ignore_index,
        )

    def _feature_maps(self, images: Tensor) -> Generator[Progress, None, FeatureMaps]:
        images = images.to(self.device)
        config = self.config.segmentation
        if config.features == "pixels":
            return pixel_features(images)
        process = Process(self.config.diffusion).to(self.device)
        return (yield from unet_features(self._model(), process, images, config, self.config.seed))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
