"""The stage `fid` with the metrics that are measured on request: nearest neighbours, and copies of training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.presets import quick
from trainables import data
from trainables.config import Config, apply
from trainables.evaluation import digits_classifier, neighbours
from trainables.images import to_unit
from trainables.pipeline import run_trial
from trainables.stages import samples
from trainables.store import Store

NEIGHBOURS = {"fid.metrics": ("fid_digits", "prdc_digits", "copies_digits")}
REAL = {"sampling.source": "held_out", "stages": ("fid",), "sampling.samples": 60, "data.image_size": 8}


def _run(config: Config, root: Path) -> dict[str, Any]:
    *_, last = run_trial(config, Store(root))
    assert last.result is not None
    return last.result


def _artefact(root: Path, result: dict[str, Any], stage: str) -> Path:
    return root / stage / result["artefacts"][stage]


def test_neighbours_are_measured_on_request_and_leave_the_distances_as_they_are(tmp_path: Path) -> None:
    plain, asked = apply(quick(), REAL), apply(quick(), REAL | NEIGHBOURS | {"fid.nearest_k": 3})
    before, result = _run(plain, tmp_path), _run(asked, tmp_path)
    figures, counts = result["metrics"], {"samples": 60, "reference_images": len(data.load(plain.data).train)}
    assert before["metrics"].items() <= figures.items() and counts.items() <= figures.items()
    held_out, train = np.load(_artefact(tmp_path, result, "samples") / "samples.npy")[0], data.load(plain.data).train
    network = digits_classifier.load()
    drawn, real = (network.features(to_unit(i)).double().numpy() for i in (torch.from_numpy(held_out), train))
    radii = neighbours.radii(real, 3, torch.device("cpu"))
    expected = neighbours.prdc(drawn, real, radii, 3, torch.device("cpu"))
    assert {n: figures[f"{n}_digits"] for n in expected} == pytest.approx(expected, abs=0.02)
    assert figures["copies_digits"] == 0.0
    assert not (_artefact(tmp_path, before, "fid") / "nearest.npz").exists()


def test_planted_copies_of_training_images_are_found_and_kept_to_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = apply(quick(), REAL | NEIGHBOURS)
    train, before = data.load(config.data).train.numpy(), _run(config, tmp_path / "before")
    honest = samples._held_out

    def copies_some(context: Any) -> Any:
        def write(folder: Path) -> None:
            honest(context)(folder)
            drawn = np.load(folder / "samples.npy")
            drawn[0, [5, 17, 40]] = train[[11, 12, 13]]
            np.save(folder / "samples.npy", drawn)

        return write

    monkeypatch.setattr(samples, "_held_out", copies_some)
    result = _run(config, tmp_path / "planted")
    near = np.load(_artefact(tmp_path / "planted", result, "fid") / "nearest.npz")
    assert len(near["ratio"]) == len(near["samples"]) == len(near["nearest"]) == 16
    assert np.array_equal(near["samples"][:3], near["nearest"][:3])
    assert {image.tobytes() for image in near["samples"][:3]} == {image.tobytes() for image in train[[11, 12, 13]]}
    assert (near["ratio"][:3] == 0).all() and (np.diff(near["ratio"]) >= 0).all() and near["ratio"][3] > 1 / 3
    assert (before["metrics"]["copies_digits"], result["metrics"]["copies_digits"]) == (0.0, 3 / 60)
