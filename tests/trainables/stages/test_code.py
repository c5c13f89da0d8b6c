"""Which edits of our own code make which stages again: each is made on a copy of the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_spaces.ablations import CONTROLS
from search_spaces.presets import bedroom, quick
from trainables import source, stages
from trainables.config import Config, Overrides, apply
from trainables.data import About
from trainables.stages import BY_NAME, code_of, stage_keys, stage_source

ABOUT = About(1, ("a", "b"), 1097, 200, 500, "fingerprint")
V = {"diffusion.prediction": "v"}
ALL = {"ddpm", "samples", "reference", "fid", "segmentation"}


@pytest.fixture
def package(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(root / "trainables", tmp_path / "trainables")
    monkeypatch.setattr(source, "ROOT", tmp_path)
    forget()
    yield tmp_path / "trainables"
    monkeypatch.undo()
    forget()


def forget() -> None:
    for cached in (source._file, source._read, stages._source, stages.whole_code):
        cached.cache_clear()


def remade(package: Path, file: str, before: str, after: str, config: Config) -> set[str]:
    """The stages whose keys an edit changes."""
    old = stage_keys(config, ABOUT)
    path = package / file
    assert path.read_text().count(before) >= 1, before
    path.write_text(path.read_text().replace(before, after))
    forget()
    new = stage_keys(config, ABOUT)
    return {stage for stage in old if old[stage] != new[stage]}


@pytest.mark.parametrize(
    ("file", "before", "after", "changes", "expected"),
    [
        ("unet/blocks.py", "F.silu", "F.relu", {}, ALL - {"reference"}),
        ("unet/blocks.py", "F.gelu", "F.relu", {}, set()),  # of the ConvNeXt block
        ("unet/blocks.py", "F.gelu", "F.relu", {"unet.block": "convnext"}, ALL - {"reference"}),
        ("training.py", "clip_grad_norm_", "clip_grad_value_", {}, ALL - {"reference"}),
        ("diffusion/samplers.py", ".clamp(-1, 1)", "", {}, {"samples", "fid"}),
        ("diffusion/samplers.py", '"ddpm": 1.0', '"ddpm": 0.9', {}, set()),  # the other sampler
        ("diffusion/samplers.py", '"ddpm": 1.0', '"ddpm": 0.9', {"sampling.sampler": "ddpm"}, {"samples", "fid"}),
        ("diffusion/predictions.py", "signal * x_t - noise * output", "signal * x_t", {}, set()),  # of v
        ("diffusion/predictions.py", "signal * x_t - noise * output", "signal * x_t", V, ALL - {"reference"}),
        ("diffusion/losses.py", "F.huber_loss", "F.mse_loss", {}, set()),
        ("diffusion/losses.py", "F.huber_loss", "F.mse_loss", {"training.loss": "huber"}, ALL - {"reference"}),
        ("diffusion/losses.py", "snr.clamp", "snr.abs", {}, set()),
        ("diffusion/losses.py", "snr.clamp", "snr.abs", {"training.loss_weighting": "min_snr"}, ALL - {"reference"}),
        ("diffusion/schedules.py", "offset: float = 0.008", "offset: float = 0.01", {}, set()),
        ("evaluation/frechet.py", "eigvals", "eigvalsh", {}, {"fid"}),
        ("evaluation/inception.py", "299", "300", {}, set()),  # no metric needs it
        ("evaluation/inception.py", "299", "300", {"fid.metrics": ("fid",)}, {"reference", "fid"}),
        ("evaluation/neighbours.py", "COPY = 1 / 3", "COPY = 1 / 2", {}, set()),
        ("evaluation/neighbours.py", "COPY = 1 / 3", "COPY = 1 / 2", {"fid.metrics": ("prdc_digits",)}, set()),
        ("evaluation/neighbours.py", "COPY = 1 / 3", "COPY = 1 / 2", {"fid.metrics": ("copies_digits",)}, {"fid"}),
        ("evaluation/neighbours.py", ".topk(k,", ".topk(2,", {"fid.metrics": ("prdc_digits",)}, {"reference", "fid"}),
        ("evaluation/pixel_classifier.py", "argmax", "argmin", {}, {"segmentation"}),
        ("evaluation/miou.py", "def confusion", "def confusion", {}, set()),
        ("data/digits.py", "INK = 0.35", "INK = 0.5", {}, ALL),
        ("data/mnist.py", "SIDE = 28", "SIDE = 32", {}, set()),  # another dataset
        ("images.py", "127.5 - 1", "127 - 1", {}, ALL),
        ("randomness.py", ">> 1", ">> 2", {}, ALL),
        ("store.py", "sort_keys=True", "sort_keys=False", {}, set()),  # plumbing
        ("sections.py", "default=0.9999", "default=0.999", {}, set()),  # settings enter by their values
        ("progress.py", "min(before + done, total)", "before + done", {}, set()),
        ("unet/guided_diffusion.py", "NORM_GROUPS = 32", "NORM_GROUPS = 16", {}, {"segmentation"}),
        ("stages/ddpm.py", '"training"', '"the training"', {}, set()),  # what a person reads
        ("stages/ddpm.py", "return (3 + ", "return (4 + ", {}, set()),  # what it costs
    ],
)  # fmt: skip
def test_an_edit_remakes_what_it_computes_and_what_follows(
    package: Path, file: str, before: str, after: str, changes: Overrides, expected: set[str]
) -> None:
    assert remade(package, file, before, after, apply(quick(), changes)) == expected


@pytest.mark.parametrize("control", ["real_images", "raw_pixels"])
def test_a_control_without_a_network_is_not_remade_for_its_code(package: Path, control: str) -> None:
    config = apply(quick(), CONTROLS[control])
    assert remade(package, "unet/blocks.py", "F.silu", "F.relu", config) == set()
    assert remade(package, "training.py", "clip_grad_norm_", "clip_grad_value_", config) == set()
    # Real images are stored as they are; what looks at them scales them.
    assert remade(package, "images.py", "127.5 - 1", "127 - 1", config) == set(stage_keys(config, ABOUT)) - {"samples"}


def test_every_stage_of_every_dataset_has_a_source() -> None:
    for dataset in ("digits", "mnist", "voc", "folder"):
        config = apply(quick(), {"data.dataset": dataset})
        for stage in BY_NAME:
            found = stage_source(config, ABOUT, stage)
            assert f"trainables.data.{dataset}.read" in found
            assert f"trainables.stages.{stage}.make" in found
    assert "trainables.unet.guided_diffusion.GuidedUNet" in stage_source(bedroom(), ABOUT, "segmentation")


def test_what_is_accepted_is_in_the_keys_of_what_follows_from_it() -> None:
    today = stage_keys(quick(), ABOUT)
    taken = stage_keys(quick(), ABOUT, {"samples": "0123456789"})
    assert code_of(taken["samples"]) == "0123456789"
    assert {stage for stage in today if today[stage] != taken[stage]} == {"samples", "fid"}
