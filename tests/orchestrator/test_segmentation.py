"""The segmentation command: many configurations on one DDPM, a pretrained network, data of one's own, bad data."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from orchestrator.run import main

EIGHT = ["few_labels", "slow_learning", "fast_learning", "by_image", "one_member", "large_members", "one_timestep"]
CONTROLS = {"untrained", "raw_pixels"}


@pytest.fixture
def command(commands, tmp_path):
    words = ["--set", "segmentation.held_out_images=20", "--set", "segmentation.validation_images=2"]
    return commands(tmp_path / "runs", *words, name="segmentation")


def test_eight_configurations_and_a_heat_map_train_one_ddpm(command):
    done = command.run("--variants", *EIGHT, "--heat-map", "50", "500")
    assert done.returncode == 0, done.stderr
    client, runs = command.runs()
    cells = {f"block{block}-t{t}" for block in (4, 5) for t in (50, 500)}
    assert {name.removesuffix("-seed0") for name in runs} == {"baseline", *EIGHT} | CONTROLS | cells
    # The baseline's, and the untrained control's, which is no training.
    trained = {path.name for path in (command.storage / "store" / "ddpm").iterdir()}
    assert len(trained) == 2
    figures = runs["baseline-seed0"].data.metrics
    assert {"miou", "validation_miou", "uncertainty", "iou/background"} <= set(figures)
    assert "fid_digits" not in figures
    losses = client.get_metric_history(runs["baseline-seed0"].info.run_id, "classifier_validation_loss")
    assert [metric.step for metric in losses] == sorted({metric.step for metric in losses})
    (study,) = (command.storage / "studies").iterdir()
    header, *rows = (study / "heat_map.csv").read_text().splitlines()
    assert header.split(",")[1:] == ["50", "500"]
    cell = float(rows[0].split(",")[1])
    assert cell == pytest.approx(runs["block4-t50-seed0"].data.metrics["miou"])
    assert "block4-t50" not in (study / "table.md").read_text()
    assert (study / "pictures" / "heat_map.png").exists()
    assert {p.name for p in (study / "pictures" / "baseline-seed0").glob("*.png")} == {
        "masks.png", "classifier.png", "loss.png"
    }  # fmt: skip


def images(folder, count, size=32):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def test_a_folder_of_images_and_masks_with_names_of_its_own(commands, tmp_path):
    images(tmp_path / "mine" / "images", 20)
    (tmp_path / "mine" / "masks").mkdir()
    for i in range(20):
        mask = np.full((32, 32), i % 2, dtype=np.uint8)
        mask[:4], mask[-4:] = 255, 2
        Image.fromarray(mask).save(tmp_path / "mine" / "masks" / f"{i}.png")
    (tmp_path / "mine" / "classes.yaml").write_text("[sky, sea, sand]\n")
    words = ["--dataset", "folder", "--data-root", str(tmp_path / "mine"), "--heat-map"]
    command = commands(tmp_path / "runs", *words, "--variants", "one_member", name="segmentation")
    command.words = [word.replace("label_images=4", "label_images=2") for word in command.words]
    command.words += ["--set", "segmentation.validation_images=1"]
    done = command.run()
    assert done.returncode == 0, done.stderr
    _, runs = command.runs()
    # The last rows are labelled in every image; one cannot but find them.
    names = {name for name in runs["baseline-seed0"].data.metrics if name.startswith("iou/")}
    assert names == {"iou/sky", "iou/sea", "iou/sand"}


@pytest.fixture
def bedroom(tmp_path):
    """A tree in Bedroom-28's layout, of noise."""
    for part, count in (("train", 4), ("test", 2)):
        folder = tmp_path / "bedroom_28" / "real" / part
        images(folder, count)
        for i in range(count):
            np.save(folder / f"{i}.npy", np.arange(32 * 32).reshape(32, 32) // 256)
    return tmp_path


TINY_NETWORK = {
    "data.image_size": 32,
    "pretrained.num_channels": 32,
    "pretrained.channel_mult": "[1,1,2]",
    "pretrained.num_head_channels": 16,
    "pretrained.attention_resolutions": "[16,8]",
    "segmentation.blocks": "[2,4]",
    "segmentation.label_images": 3,
    "segmentation.epochs": 1,
    "segmentation.ensemble_size": 2,
}


@pytest.fixture
def pretrained(commands, tmp_path, bedroom):
    words = ["--preset", "bedroom", "--data-root", str(bedroom), "--variants", "by_image", "--heat-map", "50"]
    for name, value in TINY_NETWORK.items():
        words += ["--set", f"{name}={value}"]
    command = commands(tmp_path / "runs", name="segmentation")
    command.words = words
    return command


def test_a_checkpoint_of_guided_diffusions_gives_the_features(pretrained, real_data):
    checkpoint = real_data.parent / "parity" / "guided_diffusion" / "state_dict.pt"
    if not checkpoint.exists():
        pytest.skip(f"no checkpoint at {checkpoint}")
    done = pretrained.run("--checkpoint", str(checkpoint))
    assert done.returncode == 0, done.stderr
    _, runs = pretrained.runs()
    assert set(runs) == {
        f"{n}-seed0" for n in ("baseline", "by_image", "untrained", "raw_pixels", "block2-t50", "block4-t50")
    }
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert runs["baseline-seed0"].data.params["pretrained.weights"] == digest
    assert runs["untrained-seed0"].data.params["pretrained.weights"] == "random"
    assert "miou_reference" in runs["baseline-seed0"].data.metrics
    assert runs["baseline-seed0"].data.metrics["parameters"] == 1_397_190  # as the fixture's own note counts them
    assert not (pretrained.storage / "store" / "ddpm").exists()


def refused(words, capsys):
    assert main(["segmentation", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_checkpoint_of_another_architecture_is_refused_before_anything_starts(
    pretrained, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.pt").write_bytes(b"not a checkpoint")
    words = list(pretrained.words)
    (line,) = refused([*words, "--checkpoint", "other.pt"], capsys)
    assert line.startswith("error: --checkpoint: ")
    assert "other.pt" in line
    assert not (tmp_path / "runs").exists()


def test_all_bad_files_are_listed_at_once_before_anything_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "mine" / "images", 6)
    (tmp_path / "mine" / "masks").mkdir()
    for i in range(6):
        Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(tmp_path / "mine" / "masks" / f"{i}.png")
    (tmp_path / "mine" / "masks" / "1.png").unlink()
    whole = (tmp_path / "mine" / "images" / "2.png").read_bytes()
    (tmp_path / "mine" / "images" / "2.png").write_bytes(whole[: len(whole) // 2])
    for i in (0, 3, 4, 5):
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "mine" / "masks" / f"{i}.png")
    first, *offenders = refused(["--dataset", "folder", "--data-root", str(tmp_path / "mine")], capsys)
    assert str(tmp_path / "mine") in first
    assert len(offenders) >= 2
    assert any("1.png" in line for line in offenders)
    assert any("images/2.png" in line and "truncated" in line for line in offenders)
    assert any("8x8" in line for line in offenders)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_the_papers_segmentation_counts_its_cost_without_torch(real_data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--preset", "paper", "--dataset", "voc", "--data-root", str(real_data / "camvid"), "--dry-run"]
    assert main(["segmentation", *words]) == 0
    out = capsys.readouterr().out
    assert "block6-t50-seed0" in out
    assert "raw_pixels-seed0" in out
    assert not list(tmp_path.iterdir())
