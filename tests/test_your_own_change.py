"""Every example of docs/your_own_change.md runs as it stands there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from own_change import FILES, WORDS, settings

from orchestrator.run import main
from search_spaces.presets import quick
from trainables.config import apply
from trainables.pipeline import run_trial
from trainables.store import Store

BRIEF = {
    "training.train_steps": 3, "training.batch_size": 8, "unet.base_channels": 8, "unet.channel_mults": [1, 2],
    "unet.attention_resolutions": [], "segmentation.blocks": [4, 5], "diffusion.timesteps": 300,
    "sampling.samples": 16, "sampling.batch_size": 16, "sampling.sampling_steps": 3, "sampling.sampling_repeats": 2,
    "segmentation.label_images": 4,
    "segmentation.held_out_images": 4, "segmentation.epochs": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_an_example_of_every_kind() -> None:
    named = {name for words in WORDS for name, value in settings(words).items() if ":" in str(value)}
    assert len(FILES) == 8
    assert named == {
        "unet.block", "unet.norm", "network", "diffusion.beta_schedule", "training.loss", "fid.metrics",
        "sampling.sampler", "data.dataset",
    }  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words.split("=")[0].removeprefix('--set "'))
def test_an_example_runs_through_the_whole_pipeline(words: str, folder: Path) -> None:
    config = apply(quick(), {**BRIEF, **settings(words)})
    (*_, last) = run_trial(config, Store(str(folder / "store")))
    assert last.result is not None
    measured = last.result["metrics"]
    assert {"fid_digits", "miou"} <= measured.keys()
    assert ("coverage" in measured) == ("coverage" in words)


def test_the_examples_pass_the_trial_before_a_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variants = [f"v{i}: {words}" for i, words in enumerate(WORDS) if not words.startswith("--set")]
    words = [word for variant in variants for word in ("--variant", variant)]
    brief = [word for name, value in BRIEF.items() for word in ("--set", f"{name}={value}")]
    studys = [w for line in WORDS if line.startswith("--set") for w in shlex.split(line)]
    assert main(["ablations", "--dry-run", "--variants", "baseline", *words, *brief, *studys]) == 0
    assert "v0-seed0" in capsys.readouterr().out
