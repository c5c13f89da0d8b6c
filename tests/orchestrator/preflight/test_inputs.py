"""What a dry run says of the data that people bring: their classes, and why they cannot be used."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from orchestrator.run import main
from trainables.evaluation.fid import FILES

SPLITS = {"train": (0, 100), "labels": (100, 125), "held_out": (125, 130)}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """130 images, as many as the preset `own` needs, with masks of two classes and void."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "own"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, (first, last) in SPLITS.items():
        (folder / f"{split}.txt").write_text("\n".join(map(str, range(first, last))))
        for i in range(first, last):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"images/{i}.png")
            write_mask(folder, i, (0, 0, 1, 255))
    return folder


def write_mask(folder: Path, i: int, numbers: tuple[int, ...]) -> None:
    """A mask of four columns of these numbers."""
    Image.fromarray(np.repeat(np.array([numbers], np.uint8), 8, 0).repeat(2, 1)).save(folder / f"masks/{i}.png")


def dry_run(folder: Path) -> int:
    return main(["segmentation", "--preset", "own", "--data-root", str(folder), "--variants", "baseline", "--dry-run"])


def test_the_plan_shows_the_classes_with_their_share_of_pixels(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "classes.yml").write_text("[sky, road, car]")
    for i in range(*SPLITS["held_out"]):
        write_mask(own, i, (0, 1, 1, 1))
    shutil.copy(own / "images/3.png", own / "images/127.png")
    assert dry_run(own) == 0
    out = capsys.readouterr().out
    rows = [tuple(cell.strip() for cell in line.strip("│").split("│")) for line in out.splitlines() if "%" in line]
    assert rows == [
        ("0", "sky", "50.0 %", "25.0 %"),
        ("1", "road", "25.0 %", "75.0 %"),
        ("255", "void", "25.0 %", "-"),
    ]
    assert "1 more: car" in out
    assert "note: 1 image is byte for byte in both 'train' and 'held out' (127.png is 3.png)" in out


def test_masks_of_0_and_255_are_refused_with_what_to_do(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("labels", "held_out"):
        for i in range(*SPLITS[split]):
            write_mask(own, i, (0, 0, 255, 255))
    assert dry_run(own) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the masks of the label pool hold one class alone, class 0: ")
    assert "255 is void, neither trained on nor scored" in line and "mask // 255 makes 0 and 1" in line


def test_one_class_without_void_is_refused_without_a_word_on_void(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(*SPLITS["labels"]):
        write_mask(own, i, (1, 1, 1, 1))
    assert dry_run(own) == 2
    assert capsys.readouterr().err == (
        "error: the masks of the label pool hold one class alone, class 1: there is nothing to tell apart\n"
    )


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["masks_resized/a.png"], "fill no area, so they are no classes"),
        (["names/UPPER.PNG", "masks_own_palette/0001TP_006690.png"], "each mask has a palette of its own"),
    ],
)
def test_masks_as_people_have_them_are_refused(
    files: list[str], says: str, own: Path, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, name in enumerate(files, SPLITS["labels"][0]):
        shutil.copy(cases / name, own / f"masks/{i}.png")
        with Image.open(cases / name) as mask:
            Image.new("L", mask.size).save(own / f"images/{i}.png")
    assert dry_run(own) == 2
    assert says in capsys.readouterr().err


def test_a_file_in_capitals_is_read(own: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, suffix in (("images", "JPG"), ("masks", "PNG")):
        (own / part / "100.png").unlink()
        shutil.copy(cases / "names" / f"UPPER.{suffix}", own / part / f"100.{suffix}")
    assert dry_run(own) == 0
    assert "class 9" in capsys.readouterr().out


NETWORK = {
    "data.image_size": 8,
    "pretrained.num_channels": 32,
    "pretrained.num_res_blocks": 1,
    "pretrained.channel_mult": "[1,2]",
    "pretrained.attention_resolutions": "[4]",
    "pretrained.num_head_channels": -1,
    "pretrained.num_heads": 2,
    "segmentation.blocks": "[1,3]",
    "segmentation.label_images": 10,
}


@pytest.fixture
def pretrained(own: Path, tmp_path: Path) -> list[str]:
    """Words of a study of the folder with a small network's checkpoint, `net.pt`."""
    import torch

    from trainables.sections import Pretrained
    from trainables.unet.guided_diffusion import GuidedUNet

    made_of = {n.removeprefix("pretrained."): yaml.safe_load(str(v)) for n, v in NETWORK.items() if "pre" in n}
    network = GuidedUNet(Pretrained.model_validate(made_of), 3, 8)
    torch.save({"ema": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "net.pt")
    words = ["segmentation", "--preset", "bedroom", "--dataset", "folder", "--data-root", str(own)]
    for name, value in NETWORK.items():
        words += ["--set", f"{name}={value}"]
    return [*words, "--variants", "baseline", "--checkpoint", str(tmp_path / "net.pt"), "--dry-run"]


def test_what_a_checkpoint_does_not_tell_is_named_and_grey_data_go_with_it(
    pretrained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(pretrained) == 0
    note = "net.pt is loaded from its part ['ema']['module.*'] with num_head_channels=-1, num_heads=2, "
    note += "use_new_attention_order=False, which no key or shape of it tells: features are wrong unless"
    assert f"note: {note}" in capsys.readouterr().out


@pytest.fixture
def bare(own: Path) -> Path:
    """The images alone, a few of them deeper."""
    for path in [own / "masks", *own.glob("*.txt")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (own / "images/deep").mkdir()
    for i in range(30):
        (own / f"images/{i}.png").rename(own / f"images/deep/{i}.png")
    return own


def test_images_without_masks_are_planned_without_segmentation_and_the_plan_says_so(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(bare / "images/40.png", bare / "images/copy.png")
    (bare / "images/film.gif").write_text("")
    assert main(["ablations", "--preset", "own", "--data-root", str(bare), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "all rows: no miou, as the data (folder) have no masks\n" in out
    counts = re.search(r"data folder: 131 images \(grey\): (\d+) to train on, (\d+) held out, no masks\n", out)
    assert counts and int(counts[1]) + int(counts[2]) == 131 and int(counts[2]) in (26, 27)
    assert "note: files that are not read, as they are no images of a kind that is: 1 .gif\n" in out
    assert "pixels of the masks" not in out and "segmentation" not in out and "raw_pixels" not in out
    assert "real_images: the distance of " in out


def test_what_is_not_read_is_counted_by_its_ending(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images/film.gif", "images/b.GIF", "images/notes.txt", "images/.hidden", "masks/1.json", "masks/odd"):
        (own / name).write_text("")
    (own / "images/more").mkdir()
    assert main(["ablations", "--preset", "own", "--data-root", str(own), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "note: not read in images: 2 .gif, 1 .txt, 1 folder (read: .png, .jpg, .jpeg, .bmp, .webp)\n" in out
    assert "note: not read in masks: 1 .json, 1 without a suffix (read: .png, .npy)\n" in out


def test_what_is_not_read_beside_a_npz_is_counted_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8))
    (tmp_path / "film.gif").write_text("")
    assert main(["ablations", "--preset", "own", "--data-root", str(tmp_path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"note: not read in {tmp_path.name}: 1 .gif (read: .npz)\n" in out


def test_masks_are_segmented_by_the_same_preset(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablations", "--preset", "own", "--data-root", str(own), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "data folder: 130 images (grey): 100 to train on, 25 labelled, 5 held out\n" in out
    assert "raw_pixels" in out and "no miou" not in out


@pytest.mark.parametrize(
    "words",
    [
        ["segmentation"],
        ["ablations", "--set", "stages=[segmentation]"],
        ["ablations", "--set", "stages=[fid,segmentation]"],
        ["search", "--space", "segmentation", "--trials", "2"],
    ],
    ids=" ".join,
)
def test_a_segmentation_that_is_asked_for_needs_masks(
    words: list[str], bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--preset", "own", "--data-root", str(bare), "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: stages must be [fid], as of the command ablations: the data (folder) have no masks")


@pytest.mark.parametrize("metric", ["fid_digits", "prdc_digits", "copies_digits"])
def test_digits_distance_in_colour_is_one_line(metric: str, bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8), (9, 0, 0)).save(bare / "images/red.png")
    words = ["ablations", "--preset", "own", "--data-root", str(bare), "--set", f"fid.metrics=[fid,{metric}]"]
    assert main([*words, "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{metric} is for grey images, and folder has 3 channels" in line


@pytest.mark.parametrize(
    ("metric", "variable"),
    [("prdc_inception", "ABLATION_INCEPTION"), ("fd_dinov2", "ABLATION_DINOV2"), ("prdc_dinov2", "ABLATION_DINOV2")],
)
def test_a_metrics_network_that_is_not_there_ends_the_command_before_anything_starts(
    metric: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    assert main(["ablations", "--set", f"fid.metrics=[fid_digits,{metric}]"]) == 2
    said = capsys.readouterr().err
    assert f"error: {variable} names {tmp_path}/nothing, and no file is there" in said
    assert FILES["dinov2" if "DINO" in variable else "inception"].url in said
    assert not (tmp_path / "runs/store").exists()


@pytest.mark.parametrize("masked", [False, True])
def test_a_npz_is_planned_as_a_folder_is(masked: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (130, 8, 8, 3), np.uint8)
    masks = {"masks": np.indices(images.shape[:3])[2] // 4} if masked else {}
    np.savez(tmp_path / "mine.npz", images=images, y=np.zeros(130), **masks)
    assert main(["ablations", "--preset", "own", "--data-root", str(tmp_path / "mine.npz"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    splits = "78 to train on, 26 labelled, 26 held out" if masked else "104 to train on, 26 held out, no masks"
    assert f"data file mine.npz: 130 images (RGB): {splits}\n" in out
    assert masked or "as the data (file mine.npz) have no masks\n" in out
    assert "note: mine.npz: y is not read\n" in out
    assert ("class 1" in out) == ("raw_pixels" in out) == masked


def test_a_npz_that_cannot_be_used_is_told_with_its_array(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mine.npz", images=np.zeros((9, 3, 8, 8)))
    assert main(["ablations", "--preset", "own", "--data-root", str(tmp_path), "--dry-run"]) == 2
    line = capsys.readouterr().err.splitlines()[1]
    assert line.startswith(f"  {tmp_path}/mine.npz: images is float64 of shape (9, 3, 8, 8); images must be uint8")


def test_weights_that_a_study_file_names_must_be_the_checkpoints(
    pretrained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, digest = tmp_path / "study.yaml", hashlib.sha256((tmp_path / "net.pt").read_bytes()).hexdigest()
    for named in (digest, "0" * 64):
        file.write_text(f'settings: {{pretrained.weights: "{named}"}}\n')
        code = main([pretrained[0], str(file), *pretrained[1:]])
        assert code == (0 if named == digest else 2)
    said = f"pretrained.weights: must be those of --checkpoint, {digest}, but got {'0' * 64}"
    assert said in capsys.readouterr().err
