"""What lies beside a study's table is read for its page, and rows are given the commands that make them."""

from __future__ import annotations

from pathlib import Path

from results.study_folder import command_of, row_commands, shown_of, study_file, without_pictures
from tests.results.studies import STUDY_FILE, digits_study, save_shown, shown_trial, trial, with_trials


def test_pictures_are_found_by_variant_and_seed_in_the_tables_order(tmp_path: Path) -> None:
    trials = with_trials(digits_study(seeds=2), trial("cosine", 5, 2, status="FAILED"))
    for variant, seed in (("held-out", 0), ("convnext", 1), ("baseline", 0), ("cosine", 5), ("elsewhere", 0)):
        save_shown(tmp_path, variant, seed, shown_trial())
    found = shown_of(tmp_path, trials)
    assert {variant: list(seeds) for variant, seeds in found.items()} == {
        "baseline": [0],
        "convnext": [1],
        "held-out": [0],
    }
    assert list(found) == ["baseline", "convnext", "held-out"]
    assert without_pictures(found, trials) == [
        "convnext-seed0",
        "cosine-seed0",
        "baseline-seed1",
        "cosine-seed1",
        "held-out-seed1",
    ]


def test_each_row_has_the_command_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY_FILE, encoding="utf-8")
    file = study_file(tmp_path)
    assert command_of(file) == "python -m orchestrator.run ablations study.yaml"
    commands = dict(row_commands(file, digits_study()))
    assert commands["convnext"] == "python -m orchestrator.run ablations study.yaml --variants convnext --seeds 0 1 2"
    assert list(commands) == ["baseline", "convnext", "cosine"]  # the controls come with each
    assert "in MLflow" in commands["cosine"]  # which the file does not name


def test_a_study_without_a_file_has_no_commands(tmp_path: Path) -> None:
    assert study_file(tmp_path) == ""
    assert row_commands("", digits_study()) == []
    assert row_commands("command: ablations\n", digits_study()) == []
