"""The command line: what is refused, how soon, and what a dry run shows."""

import re
import subprocess
import sys
import time

import pytest
from PIL import Image
from ports import free_port
from s3fs import S3FileSystem

from orchestrator.planning import dry_run
from orchestrator.planning.speed import Speed
from orchestrator.run import main


def refused(words, capsys) -> str:
    assert main(["ablations", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    return lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--variants", "adagm"], "unknown variant 'adagm'; allowed: baseline, adagn"),
        (["--suite", "objectives"], "unknown suite 'objectives' of ablations; allowed: architecture, objective"),
        (["--suite", ""], "unknown suite ''"),
        (["--suite", "objective", "--variants", "adagn"], "unknown variant 'adagn'; allowed: baseline, x_0"),
        (["--match", "width"], "argument --match: invalid choice: 'width' (choose from 'parameters', 'flops')"),
        (["--preset", "slow"], "unknown preset 'slow' of ablations; allowed: quick"),
        (["--set", "unet.base_chanels=48"], "did you mean unet.base_channels"),
        (["--set", "unet.base_channels=many"], "unet.base_channels"),
        (["--set", "unet.base_channels=48.5"], "unet.base_channels"),
        (["--set", "unet.base_channels"], "must be setting=value"),
        (["--set", "training.learning_rate=-1"], "training.learning_rate"),
        (["--set", "training.learning_rate=.nan"], "training.learning_rate"),
        (["--set", "unet=3"], "unet"),
        (["--set", "segmentation.timesteps=[50, 1000]"], "at most 999"),
        (["--set", "segmentation.blocks=[9]"], "[5, 6, 7]"),
        (["--set", "segmentation.label_images=181"], "at most 200"),
        (["--set", "sampling.samples=501", "--variant", "mine: sampling.source=held_out"], "at most 500"),
        (["--set", "sampling.samples=3"], "at least 4"),
        (["--set", "data.image_size=18"], "multiple of 4"),
        (["--variant", "x"], "--variant"),
        (["--variants-file", "not-there.yaml"], "not-there.yaml"),
        (["--seeds", "-1"], "--seeds"),
        (["--seeds", "a"], "--seeds"),
        (["--gpus-per-trial", "100"], "--gpus-per-trial: must be at most"),
        (["--gpus-per-trial", "-1"], "--gpus-per-trial"),
        (["--cpus-per-trial", "100000"], "--cpus-per-trial"),
        (["--max-concurrent", "-2"], "--max-concurrent"),
        (["--name", "a/b"], "--name"),
        (["--name", "x" * 300], "at most 80"),
        (["--name", ""], "at most 80"),
        (["--gpus-per-trial", "inf"], "--gpus-per-trial"),
        (["--gpus-per-trial", "nan"], "--gpus-per-trial"),
        (["--address", "foo"], "HOST:PORT"),
        (["--address", "http://127.0.0.1:8265"], "HOST:PORT"),
        (["--address", "127.0.0.1:99999"], "HOST:PORT"),
        (["--address", "127.0.0.1:1"], "no Ray cluster answers"),
        (["--gpu-hour-price", "inf"], "--gpu-hour-price: must be a finite number"),
        (["--gpu-hour-price", "2", "--gpus-per-trial", "0"], "--gpu-hour-price: these trials use no GPU"),
        (["--address", "ray://127.0.0.1:1"], "`ray exec --tmux` or `ray job submit`"),
        (["--address", "auto"], "--gpus-per-trial: must be given with --address"),
        (["--tracking-uri", "sqlite:///"], "must name a file"),
        (["--store", "memory://"], "not shared between processes"),
        (["--set", "unet.block=true"], "unet.block must not be true"),
        (["--tracking-uri", "ftp://there"], "sqlite:///"),
        (["--tracking-uri", "sqlite:////not/there/x.db"], "/not/there"),
        (["--storage", "{blocked}"], "cannot write to"),
        (["--storage", "s3://bucket/runs"], "--store takes a URI"),
        (["--storage", ""], "--storage: must be a folder"),
        (["--store", "nowhere://x"], "--store: must be a folder or a URI that fsspec opens"),
        (["--frobnicate"], "--frobnicate"),
        (["--dataset", "cifar"], "data.dataset"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, said, capsys, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "file").touch()  # below a file there can be no folder, for root neither
    assert said in refused([word.replace("{blocked}", str(tmp_path / "file" / "x")) for word in words], capsys)
    assert not list(here.iterdir())


def test_a_tracking_server_that_is_not_there_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = f"http://127.0.0.1:{free_port()}"
    assert uri in refused(["--tracking-uri", uri], capsys)
    assert not list(tmp_path.iterdir())


def ran(words, cwd):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "orchestrator.run", *words],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    heavy = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    return done, heavy & {"torch", "ray", "mlflow", "cleanfid", "matplotlib"}, time.monotonic() - start


@pytest.mark.parametrize("words", [["--help"], ["ablations", "--variants", "x"], ["ablations", "--dry-run"]])
def test_words_alone_never_load_torch_ray_or_mlflow_and_answer_soon(words, tmp_path):
    if "--dry-run" in words:
        ran(words, tmp_path)  # the first plan with a network counts its operations, with torch
    done, heavy, seconds = ran(words, tmp_path)
    assert done.returncode == (2 if "x" in words else 0), done.stderr[-500:]
    assert not heavy
    assert seconds < 3


def test_a_dry_run_shows_every_trial_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["ablations", "--dry-run", "--seeds", "0", "1", "--variant", "wide: unet.base_channels=32"]) == 0
    out = capsys.readouterr().out
    for variant in ("baseline", "adagn", "convnext", "cosine", "no_attention", "wide", "untrained", "raw_pixels"):
        assert f"{variant}-seed0" in out
        assert f"{variant}-seed1" in out
    assert "unet.base_channels=32" in out
    assert "191,281" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--storage", "file"], "--storage: cannot write to file (Not a directory)"),
        (["--storage", "file/x"], "--storage: cannot write to file/x (Not a directory)"),
        (["--tracking-uri", "foo://x"], "--tracking-uri: must begin with one of sqlite:///"),
        (["--tracking-uri", "sqlite:////not/there/x.db"], "the folder of sqlite:////not/there/x.db is not there"),
        (["--data-root", "not-there"], "--data-root: there is no folder not-there, and no such .npz file"),
        (["--data-root", "file"], "--data-root: there is no folder file, and no such"),
    ],
)
@pytest.mark.parametrize("command", [["ablations"], ["search", "--space=segmentation", "--trials=2"]])
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_dry_run_refuses_the_places_that_a_run_does(command, dry, words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main([*command, *words, *dry]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_report_of_no_study_is_refused(tmp_path, capsys):
    assert main(["report", "nothing", "--storage", str(tmp_path)]) == 2
    assert "no study" in capsys.readouterr().err


def test_data_that_are_not_there_are_refused_with_the_places_where_they_were_expected(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    words = ["segmentation", "--preset", "paper", "--dataset", "voc", "--data-root", "empty"]
    assert main(words) == 2
    first, *places = capsys.readouterr().err.splitlines()
    assert "--data-root" in first
    assert [place.strip() for place in places] == [f"{tmp_path}/empty/voc", f"{tmp_path}/empty"]
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_the_usual_heat_map_is_a_part_of_a_segmentation_study_unless_it_is_waived(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["segmentation", "--dry-run", "--variants", "by_image"]) == 0
    assert "block5-t800-seed0" in capsys.readouterr().out
    assert main(["segmentation", "--dry-run", "--variants", "by_image", "--heat-map"]) == 0
    assert "block5" not in capsys.readouterr().out


def test_the_time_in_all_is_at_least_that_of_the_longest_trial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "guessed_speed", lambda gpu: Speed(1e9, "a round figure"))
    monkeypatch.setattr(dry_run, "_at_once", lambda resources, trials: 8)
    assert main(["ablations", "--variants", "baseline", "--dry-run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    (longest,) = re.findall(r"│ baseline-seed0 │.*?~([^│]*?) │", shown)
    assert f"about {longest} in all" in shown


def test_masks_of_one_class_are_refused_where_they_are_to_be_segmented(tmp_path, monkeypatch, capsys):
    for part in ("images", "masks"):
        (tmp_path / "own" / part).mkdir(parents=True)
    for i in range(30):
        Image.new("L", (8, 8), i).save(tmp_path / "own" / "images" / f"{i}.png")
        Image.new("L", (8, 8), 0).save(tmp_path / "own" / "masks" / f"{i}.png")
    words = ["--preset", "own", "--data-root", str(tmp_path / "own"), "--storage", str(tmp_path / "runs")]
    less = ["--variants", "baseline", "--heat-map", "--set", "segmentation.label_images=1"]
    assert main(["segmentation", *words, *less]) == 2
    assert "hold one class alone" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["store", "--storage", "typo"], "--store: there is no store at"),
        (["store", "--prune", "--storage", "typo"], "--store: there is no store at"),
        (["store", "--store", "file"], "is no folder"),
        (["ablations", "--dry-run", "--store", "file"], "is no folder"),
        (["search", "--space", "segmentation", "--trials", "2", "--dry-run", "--store", "file"], "is no folder"),
        (["store", "--store", "empty", "--forget", "mine"], "--forget: no study 'mine' in empty; it has: none"),
        (["check", "--dry-run"], "--dry-run"),
        (["check", "--fresh"], "--fresh"),
    ],
)
def test_a_store_that_cannot_be_asked_is_refused_in_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


@pytest.mark.parametrize("words", [["store"], ["ablations", "--dry-run"]])
def test_a_bucket_without_credentials_is_refused_in_one_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    S3FileSystem.clear_instance_cache()
    try:
        assert main([*words, "--store", "s3://bucket-of-nobody/store"]) == 2
    finally:
        S3FileSystem.clear_instance_cache()  # the client keeps what it knows of credentials: nothing
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "--store: cannot read s3://bucket-of-nobody/store (NoCredentialsError" in err
