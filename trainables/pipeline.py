"""One trial: the stages in order, each made once and stored.

    for record in run_trial(config, store):   # progress, metrics with their steps, and last the result
        ...

It needs neither Ray nor MLflow: the orchestrator passes the records on, a notebook may print them.
"""

from __future__ import annotations

import json
import platform
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from trainables.checkpoints import Checkpoints
from trainables.claims import Claims
from trainables.config import Config
from trainables.data import Dataset, load
from trainables.diffusion.process import Process
from trainables.evaluation import pixel_classifier
from trainables.evaluation.features import FeatureMaps, pixel_features, unet_features
from trainables.evaluation.fid import DigitsFid
from trainables.evaluation.miou import confusion, scores
from trainables.progress import Progress
from trainables.randomness import generator
from trainables.sampling import draw
from trainables.stages import stage_keys
from trainables.store import Artefact, Store
from trainables.training import Trainer, build
from trainables.unet.unet import UNet

HISTORY = "history.json"  # what the stage logged, with its steps
SHOWN_MASKS = 8  # held-out images whose masks are kept for the pictures
STORE_PATIENCE_S = 600.0  # how long a trial waits for a store that is full or away
STORE_RETRY_S = 5.0
CLAIM_RETRY_S = (0.3, 1.0)  # at random between these, so that two claimers do not go on meeting

T = TypeVar("T")
Write = Callable[[Path], None]
Making = Generator[Progress, None, Write]


@dataclass
class Record:
    """One message of a running trial. `metrics` belong to `step` of `stage`; `result` comes once, at the end."""

    stage: str
    step: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    note: str = ""
    result: dict[str, Any] | None = None


def run_trial(
    config: Config, store: Store, device: str = "cpu", checkpoint_interval_s: float = 60.0
) -> Generator[Record, None, None]:
    """The records of one trial. The last one's `result` has `metrics`, `artefacts` (keys) and `wall_time_s` by stage.

    Raises:
        Diverged: the training's loss is not finite.
        OSError: the store stayed full or away.
    """
    trial = Trial(config, store, torch.device(device), checkpoint_interval_s)
    for stage in trial.keys:
        for progress in trial.made(stage):
            yield Record(stage, **vars(progress))
    yield Record("done", 1, 1, result=trial.result())


class Trial:
    """The stages of one trial on one device."""

    def __init__(self, config: Config, store: Store, device: torch.device, checkpoint_interval_s: float = 60.0) -> None:
        self.config, self.store, self.device = config, store, device
        self.checkpoint_interval_s, self.claims = checkpoint_interval_s, Claims(store)
        self.data: Dataset = load(config.data)
        self.keys = stage_keys(config, self.data.about)
        self.artefacts: dict[str, Artefact] = {}
        self.parts = 1  # that a batch is computed in, where the GPU's memory is short
        self._makers: dict[str, Callable[[Checkpoints], Making]] = {
            "ddpm": self._ddpm,
            "samples": self._samples,
            "fid": self._fid,
            "segmentation": self._segmentation,
        }

    def made(self, stage: str) -> Generator[Progress, None, None]:
        """Progress until `stage` is in the store: found there, made here, or made by another trial that needs it too.

        What the stage logged when it was made is told anew.
        """
        key, waits, made = self.keys[stage], False, False
        while (found := (yield from self._patiently(partial(self.store.find, stage, key)))) is None:
            if made:
                raise OSError(f"{stage} was written to {self.store.root} and cannot be read back")
            claim = yield from self._patiently(partial(self.claims.claim, f"{stage}-{key}"))
            if claim is None:
                if not waits:
                    yield Progress(0, 1, note=f"waits for {stage}, which another trial is making")
                waits = True
                yield Progress(0, 1)
                time.sleep(random.uniform(*CLAIM_RETRY_S))
                continue
            with claim:
                if not self.store.has(stage, key):  # its last maker may have ended between the look and the claim
                    yield from self._make(stage)
                    made = True
        self.artefacts[stage] = found
        history = [(step, metrics) for step, metrics in found.json(HISTORY)]
        yield Progress(1, 1, history=history)

    def _make(self, stage: str) -> Generator[Progress, None, None]:
        """Makes the stage and publishes it."""
        facts: dict[str, Any] = {"machine": platform.node(), "device": _device_name(self.device)}
        checkpoints = Checkpoints(self.store, stage, self.keys[stage], self.checkpoint_interval_s)
        start, history = time.monotonic(), []
        maker = self._made_in_parts(stage, checkpoints)
        try:
            while True:
                progress = next(maker)
                history += progress.history + ([(progress.step, progress.metrics)] if progress.metrics else [])
                yield progress
        except StopIteration as end:
            write: Write = end.value
        facts["wall_time_s"] = time.monotonic() - start
        if self.parts > 1:
            facts["note"] = f"GPU out of memory: each batch in {self.parts} parts, their gradients added up"
        checkpoints.wait()
        yield from self._patiently(partial(self._publish, stage, facts, write, history))
        checkpoints.clear()

    def _publish(self, stage: str, facts: dict[str, Any], write: Write, history: list[Any]) -> None:
        with self.store.publish(stage, self.keys[stage], facts) as folder:
            write(folder)
            _write_json(folder / HISTORY, history)

    def _made_in_parts(self, stage: str, checkpoints: Checkpoints) -> Making:
        """The stage's making; if the GPU's memory is short, once more with each batch in two parts."""
        try:
            return (yield from self._makers[stage](checkpoints))
        except torch.OutOfMemoryError:
            if self.parts > 1:
                raise
            self.parts = 2
        torch.cuda.empty_cache()
        yield Progress(0, 1, note="GPU out of memory: once more, each batch in 2 parts")
        return (yield from self._makers[stage](checkpoints))

    def _patiently(self, action: Callable[[], T]) -> Generator[Progress, None, T]:
        """The action's result; while the store is full or away, again and again for a while, and saying so."""
        deadline = time.monotonic() + STORE_PATIENCE_S
        while True:
            try:
                return action()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise
                reason = error.strerror or str(error) or type(error).__name__
                yield Progress(0, 1, note=f"the store {self.store.root} cannot be used ({reason}); trying again")
                time.sleep(STORE_RETRY_S)

    def result(self) -> dict[str, Any]:
        """The trial's figures, the folders that they came from, and the time that making them took."""
        metrics: dict[str, float] = {}
        for stage in ("fid", "segmentation"):
            if stage in self.artefacts:
                metrics |= self.artefacts[stage].json("metrics.json")
        times = {stage: artefact.facts["wall_time_s"] for stage, artefact in self.artefacts.items()}
        facts = [artefact.facts for artefact in self.artefacts.values()]
        return {
            "metrics": metrics,
            "artefacts": dict(self.keys),
            "wall_time_s": times,
            "machine": "; ".join(dict.fromkeys(f"{fact['machine']}, {fact['device']}" for fact in facts)),
            "note": "; ".join(dict.fromkeys(fact["note"] for fact in facts if "note" in fact)),
        }

    def _ddpm(self, checkpoints: Checkpoints) -> Making:
        trainer = Trainer(self.config, self.data.train.to(self.device), self.parts)
        yield from trainer.run(checkpoints)
        weights = {name: v.contiguous() for name, v in trainer.ema.state_dict().items()}

        def write(folder: Path) -> None:
            # By way of memory: the library's own file writer reports a full disk as something other than an OSError.
            (folder / "ema.safetensors").write_bytes(save(weights))

        return write

    def _model(self) -> UNet:
        model = build(self.config, self.data.about.image_channels, self.device)
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

    def _fid(self, checkpoints: Checkpoints) -> Making:
        samples = torch.from_numpy(np.load(self.artefacts["samples"] / "samples.npy"))
        fid = DigitsFid(self.data.train.to(self.device))
        values = []
        for repeat, images in enumerate(samples, start=1):
            values.append(fid(images.to(self.device)))
            yield Progress(repeat, len(samples))
        # Repeats of one model are averaged, not taken for replicates: their spread is the sampling's alone.
        metrics = {"fid_digits": float(np.mean(values)), "fid_digits_repeats_sd": float(np.std(values, ddof=0))}

        def write(folder: Path) -> None:
            _write_json(folder / "metrics.json", metrics)
            _write_json(folder / "repeats.json", values)

        return write

    def _segmentation(self, checkpoints: Checkpoints) -> Making:
        config, about = self.config.segmentation, self.data.about
        chosen = torch.randperm(len(self.data.label_images), generator=generator(self.config.seed, "labels"))
        chosen = chosen[: config.label_images]
        masks = self.data.label_masks[chosen].to(self.device)
        maps = yield from self._feature_maps(self.data.label_images[chosen])
        trainer = pixel_classifier.Trainer(
            maps, masks, len(about.class_names), about.ignore_index, config, self.config.seed
        )
        ensemble = yield from trainer.run(checkpoints)
        held_out = yield from self._feature_maps(self.data.held_out)
        return (yield from self._score(ensemble, held_out))

    def _score(self, ensemble: pixel_classifier.Ensemble, maps: FeatureMaps) -> Making:
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

        def write(folder: Path) -> None:
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

        return write

    def _feature_maps(self, images: Tensor) -> Generator[Progress, None, FeatureMaps]:
        images = images.to(self.device)
        config = self.config.segmentation
        if config.features == "pixels":
            return pixel_features(images)
        process = Process(self.config.diffusion).to(self.device)
        return (yield from unet_features(self._model(), process, images, config, self.config.seed, self.parts))


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


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
