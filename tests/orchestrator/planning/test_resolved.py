"""The file that a study leaves: it alone is the same study again."""

import shlex

import pandas as pd
import pytest

from orchestrator import arguments
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.planning.study_file import asked, read
from results.study_folder import row_commands
from search_spaces.spaces import ABLATIONS, SEGMENTATION
from trainables.data import About
from trainables.inputs import Inputs

BEDROOM = About(3, ("a", "b"), 0, 40, 20, "of no files")
SMALL = {
    "data.image_size": 32, "pretrained.num_channels": 32, "pretrained.channel_mult": [1, 2],
    "pretrained.num_head_channels": 16, "pretrained.attention_resolutions": [16], "segmentation.blocks": [2],
}  # fmt: skip
ODD = [("1e5", {"training.learning_rate": "1e-4"}), ("off", {"segmentation.blocks": (5,), "unet.dropout": 1e-5})]


@pytest.mark.parametrize(
    "request_",
    [
        Request(ABLATIONS),
        Request(
            ABLATIONS, seeds=[3, 0, 3], settings={"training.train_steps": 5}, chosen=["cosine"], new=ODD, name="odd"
        ),
        Request(ABLATIONS, settings={"unet.attention_resolutions": []}),  # makes no_attention void
        Request(ABLATIONS, preset="paper", own={"adagn": {"unet.norm": "adagn", "unet.norm_groups": 4}}),
        Request(ABLATIONS, match="parameters", seeds=[1]),
        Request(ABLATIONS, match="flops", suite="architecture", new=[("wide", {"unet.base_channels": 24})]),
        Request(ABLATIONS, design="factorial", components=["cosine", "adagn"], seeds=[0, 1]),
        Request(ABLATIONS, design="fraction", chosen=["adagn", "cosine"], new=[("wide", {"unet.base_channels": 24})]),
        Request(ABLATIONS, design="leave-one-out", components=["adagn", "convnext", "cosine"], match="parameters"),
        Request(ABLATIONS, design="factorial", components=["adagn", "convnext"], match="flops"),
        Request(ABLATIONS, suite="objective", chosen=["l1"], pairs=["huber+v"]),
        Request(ABLATIONS, chosen=["baseline"], pairs=["adagn+cosine"]),
        Request(SEGMENTATION, chosen=["by_image"], heat_map=None),
        Request(SEGMENTATION, settings={"diffusion.timesteps": 300}, heat_map=[10, 20]),
        Request(SEGMENTATION, heat_map=(), seeds=[2]),
    ],
    ids=[
        "quick",
        "odd",
        "void",
        "paper",
        "parameters",
        "flops",
        "factorial",
        "fraction",
        "leave-one-out",
        "matched-factorial",
        "pairs",
        "pair-alone",
        "usual-map",
        "map",
        "no-map",
    ],
)
def test_a_study_leaves_a_file_that_is_the_same_study(request_, tmp_path):
    study = plan.build(request_)
    path = tmp_path / "study.yaml"
    path.write_text(study.as_file)
    again = plan.build(asked(request_.space, path, {}, []))
    assert again.left_out == ()
    assert again.trials == study.trials
    assert (again.name, again.baseline, again.file) == (study.name, study.baseline, study.file)
    assert again.design == study.design
    assert again.as_file == study.as_file


def test_every_setting_is_written_out_with_what_differs_from_the_preset_first():
    text = plan.build(Request(ABLATIONS, settings={"training.train_steps": 5})).as_file
    changed, _, same = text.partition("# as the preset quick")
    assert "  # other than the preset quick\n  training.train_steps: 5\n" in changed
    assert "  unet.base_channels: 16\n" in same
    assert "seed:" not in text


def test_a_text_that_some_take_for_a_number_is_in_quotes():
    text = plan.build(Request(ABLATIONS, chosen=["baseline"], new=ODD, name="2026")).as_file
    assert "\nname: '2026'\n" in text
    assert "\n  '1e5': {training.learning_rate: '1e-4'}\n" in text
    assert "\n  'off': {segmentation.blocks: [5], unet.dropout: 1.0e-05}\n" in text


def test_places_of_this_machine_are_named_and_not_written(tmp_path):
    study = plan.build(Request(ABLATIONS, chosen=["baseline"], inputs=Inputs(tmp_path)))
    assert "#   python -m orchestrator.run ablations study.yaml --data-root FOLDER\n" in study.as_file
    assert str(tmp_path) not in study.as_file
    assert "--data-root" not in plan.build(Request(ABLATIONS)).as_file


def test_other_code_that_was_accepted_is_accepted_again():
    study = plan.build(Request(ABLATIONS, chosen=["baseline"]))
    accepting = study.of_generation(0, study.stages)
    assert "study.yaml --accept-code\n" in accepting.as_file


def test_a_pretrained_networks_file_holds_its_checksum(tmp_path):
    digest = "0" * 64
    study = plan.build(
        Request(SEGMENTATION, preset="bedroom", settings=SMALL | {"pretrained.weights": digest}), BEDROOM
    )
    path = tmp_path / "study.yaml"
    path.write_text(study.as_file)
    assert read(path, SEGMENTATION).settings["pretrained.weights"] == digest


def test_a_search_leaves_none(tiny):
    request = Request(SEGMENTATION, settings=tiny, seeds=[0])
    assert plan.search(request, objective="validation_miou").as_file == ""


def test_a_rows_command_from_the_page_is_the_rows_trials(tmp_path, monkeypatch):
    study = plan.build(Request(ABLATIONS, seeds=[0, 2], chosen=["cosine"], new=ODD, name="odd"))
    (tmp_path / "study.yaml").write_text(study.as_file)
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame([{"variant": t.variant, "kind": t.kind, "seed": t.config.seed} for t in study.trials])
    commands = dict(row_commands(study.as_file, rows))
    assert list(commands) == ["baseline", "cosine", "1e5", "off"]
    for variant, command in commands.items():
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "orchestrator.run"]
        args = arguments.parser().parse_args(words[3:])
        again = plan.build(arguments.request(args, ABLATIONS, args.seeds))
        kept = [t for t in study.trials if t.kind == "control" or t.variant in ("baseline", variant)]
        assert [(t.name, t.key) for t in again.trials] == [(t.name, t.key) for t in kept]
