"""What the study's page shows of a trial is what its stages stored."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.tracking.pictures import KINDS, figures, save_pictures, shown


class Stored:
    """A store of folders: a stage's artefact lies in the folder of its name."""

    def __init__(self, root):
        self.root = root

    def find(self, stage, key):
        folder = self.root / stage
        return SimpleNamespace(folder=folder) if folder.is_dir() else None


@pytest.fixture
def stored(tmp_path):
    draw = np.random.default_rng(0)
    for stage in ("ddpm", "samples", "segmentation", "fid"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "history.json").write_text("[]")
    (tmp_path / "ddpm" / "history.json").write_text(json.dumps([[s, {"loss": 1 / s}] for s in (1, 2, 4)]))
    samples = draw.integers(0, 256, (3, 20, 1, 16, 16), dtype=np.uint8)
    frames = draw.integers(0, 256, (4, 8, 1, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "samples" / "samples.npy", samples)
    np.savez(tmp_path / "samples" / "denoising.npz", frames=frames, timesteps=np.array([999, 500, 0, -1]))
    classifier = [[5, {"classifier_loss": 2.0, "classifier_validation_loss": 3.0}], [10, {"classifier_loss": 1.0}]]
    classifier[1][1]["classifier_validation_loss"] = 2.5
    (tmp_path / "segmentation" / "history.json").write_text(json.dumps(classifier))
    masks = {name: draw.integers(0, 3, (9, 16, 16)) for name in ("truth", "predicted")}
    np.savez(
        tmp_path / "segmentation" / "masks.npz", images=samples[0, :9], disagreement=draw.random((9, 16, 16)),
        class_names=np.array(["background", "cat", "dog"]), ignore_index=255, **masks,
    )  # fmt: skip
    return Stored(tmp_path), samples, frames, masks


def test_images_and_masks_are_those_of_the_store(stored):
    store, samples, frames, masks = stored
    found = shown(store, dict.fromkeys(("ddpm", "samples", "segmentation", "fid"), "key"))
    assert np.array_equal(found.samples[..., 0], samples[0, :12, 0])  # the first set
    assert np.array_equal(found.way[..., 0], frames[:, 0, 0])  # the first image
    assert found.timesteps.tolist() == [999, 500, 0, -1]
    assert np.array_equal(found.images[..., 0], samples[0, :8, 0])
    assert all(np.array_equal(getattr(found, name), masks[name][:8]) for name in masks)
    assert found.class_names.tolist() == ["background", "cat", "dog"]
    assert found.loss.tolist() == [[1, 2, 4], [1, 0.5, 0.25]]
    assert found.classifier.tolist() == [[5, 10], [2, 1], [3, 2.5]]


def test_what_a_trial_has_not_is_nothing(stored):
    store, *_ = stored
    for path in (store.root / "segmentation").iterdir():
        path.unlink()
    (store.root / "segmentation").rmdir()
    (store.root / "samples" / "denoising.npz").unlink()
    found = shown(store, dict.fromkeys(("ddpm", "samples", "segmentation"), "key"))
    assert found.samples is not None
    assert found.way is found.images is found.predicted is found.classifier is None


def test_a_trial_that_looked_for_copies_has_a_picture_of_them(stored, tmp_path):
    store, samples, *_ = stored
    assert "copies" not in figures(store, {"fid": "key"})
    assert shown(store, {"fid": "key"}).copies is None
    near = {"samples": samples[0, :5], "nearest": samples[1, :5], "ratio": np.linspace(0, 1, 5)}
    np.savez(store.root / "fid" / "nearest.npz", **near)
    pictures = figures(store, {"fid": "key"})
    assert list(pictures) == ["copies"] and set(pictures) <= set(KINDS)
    (path,) = save_pictures(pictures, tmp_path / "pictures").values()
    assert path.name == "copies.png" and path.read_bytes().startswith(b"\x89PNG")
    found = shown(store, {"fid": "key"})
    assert np.array_equal(found.copies[..., 0], near["samples"][:, 0])
    assert np.array_equal(found.nearest[..., 0], near["nearest"][:, 0])
    assert found.ratio.tolist() == [0, 0.25, 0.5, 0.75, 1]
