"""What is no number comes out of a trial as a failure, whichever stage it arises in, and never as a figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.presets import quick
from trainables import pipeline, training
from trainables.config import Config, Overrides, apply
from trainables.evaluation import features, pixel_classifier
from trainables.finite import Diverged, check_finite, check_weights
from trainables.pipeline import run_trial
from trainables.store import Store

BAD = [float("nan"), float("inf"), -float("inf")]


@pytest.fixture(scope="module")
def config(tiny: Overrides) -> Config:
    return apply(quick(), tiny)


def diverges(config: Config, root: Path, said: str) -> None:
    with pytest.raises(Diverged, match=said):
        list(run_trial(config, Store(root), checkpoint_interval_s=0))


@pytest.mark.parametrize("bad", BAD)
def test_one_value_among_many_is_seen(bad: float) -> None:
    values = torch.zeros(3, 1000)
    check_finite([values, torch.tensor([2**62])], "these are")
    values[1, 500] = bad
    with pytest.raises(Diverged, match=r"^these are not finite$"):
        check_finite([torch.zeros(3), values], "these are")


def test_running_means_are_weights_too() -> None:
    norm = nn.BatchNorm1d(2)
    check_weights(norm, "a norm")
    norm.running_var[1] = float("nan")
    with pytest.raises(Diverged, match="a norm has weights that are not finite"):
        check_weights(norm, "a norm")


def test_a_last_update_that_diverges_ends_the_trial(config: Config, tmp_path: Path, monkeypatch) -> None:
    step = training.Trainer._train_step

    def broken(self: training.Trainer) -> Tensor:
        loss = step(self)  # of the weights before the update: finite
        if self.step == self.training.train_steps:
            next(self.model.parameters()).data[0] = float("nan")
        return loss

    monkeypatch.setattr(training.Trainer, "_train_step", broken)
    diverges(config, tmp_path, "after step 4 the network has weights that are not finite")
    assert not (tmp_path / "ddpm").exists()


def test_a_stored_network_that_is_none_is_not_used(config: Config, tmp_path: Path, monkeypatch) -> None:
    def broken(self: training.Trainer, *_: object) -> object:
        next(self.ema.parameters()).data[0] = float("nan")
        yield from ()

    monkeypatch.setattr(training.Trainer, "run", broken)
    for stage in ("fid", "segmentation"):
        diverges(apply(config, {"stages": (stage,)}), tmp_path, "the trained network has weights that are not finite")
        assert not (tmp_path / stage).exists()


def test_features_that_are_none_train_no_classifier(config: Config, tmp_path: Path, monkeypatch) -> None:
    outputs = training.UNet.features

    def broken(self: nn.Module, *of: object) -> dict[int, Tensor]:
        return {block: torch.full_like(map_, float("inf")) for block, map_ in outputs(self, *of).items()}

    monkeypatch.setattr(training.UNet, "features", broken)
    diverges(apply(config, {"stages": ("segmentation",)}), tmp_path, "the network's features are not finite")


def test_a_classifier_that_diverges_gives_no_miou(config: Config, tmp_path: Path) -> None:
    wild = apply(config, {"stages": ("segmentation",), "segmentation.learning_rate": 1e38})
    diverges(wild, tmp_path, "^in epoch 1 of the pixel classifier|pixel classifier has weights")
    assert not (tmp_path / "segmentation").exists()


@pytest.mark.parametrize("bad", BAD)
def test_a_classifiers_output_that_is_none_is_no_class(bad: float) -> None:
    maps = features.FeatureMaps([torch.randn(1, 4, 4, 3)], 4)
    ensemble = pixel_classifier.Ensemble(3, 2, quick().segmentation, 0).eval()
    ensemble.predict(maps, 0)
    ensemble.biases[-1].data[3, 0, 1] = bad
    with pytest.raises(Diverged, match="the pixel classifier's outputs are not finite"):
        ensemble.predict(maps, 0)


def test_no_metric_that_is_none_leaves_a_trial(config: Config, tmp_path: Path, monkeypatch) -> None:
    write: Callable[[Path, object], None] = pipeline.write_json

    def broken(path: Path, value: object) -> None:
        write(path, value)
        if path.name == pipeline.HISTORY and (path.parent / pipeline.METRICS).exists():
            write(path.parent / pipeline.METRICS, {"miou": float("nan")})

    monkeypatch.setattr(pipeline, "write_json", broken)
    diverges(apply(config, {"stages": ("segmentation",)}), tmp_path, "^miou is nan")


def test_a_step_that_is_finite_is_let_be(config: Config, tmp_path: Path) -> None:
    *_, last = run_trial(config, Store(tmp_path))
    assert all(np.isfinite(value) for value in last.result["metrics"].values())
