"""A study as a file, from its first run to the file that it leaves, with real Ray and MLflow."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from orchestrator.planning.study_file import schema
from orchestrator.run import main


@pytest.fixture
def written(tmp_path, tiny):
    """A study file of the tiny study with a variant of its own."""
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in tiny.items()}
    content = {"settings": settings, "variants": {"wide": {"unet.base_channels": 16}}, "chosen": ["cosine"]}
    path = tmp_path / "my_study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_the_file_that_a_study_leaves_runs_it_again_with_all_in_the_store(written, commands, tmp_path):
    command = commands(tmp_path / "runs")
    command.words = [str(written), "--name", "mine"]
    first = command.run()
    assert first.returncode == 0, first.stdout + first.stderr
    left = command.storage / "studies" / "mine" / "study.yaml"
    assert f"study     {left}" in first.stdout
    Draft202012Validator(schema()).validate(yaml.safe_load(left.read_text()))

    command.words = [str(left)]
    names = ("baseline", "cosine", "wide", "untrained", "real_images", "raw_pixels")
    plan = command.run("--dry-run").stdout
    assert f"study mine (preset quick), {len(names)} trials" in plan
    assert plan.count("none: all in the store") == len(names)
    before = left.read_text()
    again = command.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"study mine: {len(names)} trials: {len(names)} done, 0 to run" in again.stdout
    assert left.read_text() == before

    client, runs = command.runs()
    assert set(runs) == {f"{name}-seed0" for name in names}
    for run in runs.values():
        path = client.download_artifacts(run.info.run_id, "study.yaml", str(tmp_path))
        assert Path(path).read_text() == before
    place = client.get_experiment_by_name("mine").artifact_location
    assert Path(place.removeprefix("file://"), "study.yaml").read_text() == before


def test_words_and_file_may_stand_in_any_order(written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = []
    for words in ([str(written), "--name", "mine"], ["--name", "mine", str(written)]):
        assert main(["ablations", *words, "--dry-run"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0].splitlines()[0] == said[1].splitlines()[0] == "study mine (preset quick), 6 trials"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ablations", "gone.yaml"], "gone.yaml: No such file or directory"),
        (
            ["segmentation", "ours.yaml"],
            "ours.yaml: command: the file is for ablations, but segm",
        ),
        (["check", "bad.yaml"], "bad.yaml: unknown key 'sedes'; did you mean seeds?"),
        (["search", "--space", "segmentation", "--trials", "2", "ours.yaml"], "unrecognized arguments: ours.yaml"),
    ],
)
def test_a_file_that_does_not_fit_the_command_is_refused_in_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.yaml").write_text("command: ablations\n")
    (tmp_path / "bad.yaml").write_text("sedes: [0]\n")
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err


def test_a_check_looks_at_the_study_that_the_file_is_of(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beds.yaml").write_text("{command: segmentation, preset: bedroom}\n")
    assert main(["check", "beds.yaml"]) == 2
    assert "--checkpoint: the preset bedroom needs the weights" in capsys.readouterr().err


def test_the_schema_is_printed(written, capsys):
    assert main(["schema"]) == 0
    Draft202012Validator(json.loads(capsys.readouterr().out)).validate(yaml.safe_load(written.read_text()))
