"""Artefacts that other code made: told with what changed, used only where that is asked for."""

import shutil

import pytest

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.storage.earlier_code import EarlierCode
from search_spaces.spaces import ABLATIONS
from trainables import source, stages
from trainables.config import apply
from trainables.stages import code_of, settings_keys, stage_keys, stage_source
from trainables.store import Store


def forget():
    for cached in (source._file, source._read, stages._source, stages.whole_code):
        cached.cache_clear()


@pytest.fixture
def package(root, tmp_path, monkeypatch):
    """A copy of our code, which a test may edit."""
    shutil.copytree(root / "trainables", tmp_path / "code" / "trainables")
    monkeypatch.setattr(source, "ROOT", tmp_path / "code")
    forget()
    yield tmp_path / "code" / "trainables"
    monkeypatch.undo()
    forget()


@pytest.fixture
def study(tiny):
    return plan.build(Request(ABLATIONS, settings=tiny, chosen=["cosine"], seeds=[0, 1]))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def make(store, study, recorded=True, made=1.0):
    """Publishes the stages of all trials under the keys of today's code, or as they were before code was recorded."""
    for trial in study.trials:
        keys = stage_keys(trial.config, study.about) if recorded else settings_keys(trial.config, study.about)
        for stage, key in keys.items():
            facts = {"made": made, "source": dict(stage_source(trial.config, study.about, stage))} if recorded else {}
            with store.publish(stage, key, facts):
                pass


def edit(package, file, before, after):
    text = (package / file).read_text()
    assert before in text
    (package / file).write_text(text.replace(before, after))
    forget()


def told(store, study):
    trials = [(t.config, stage_keys(t.config, study.about)) for t in study.trials]
    return list(EarlierCode(store, study.about).told(trials))


def test_what_today_s_code_made_is_no_news(package, store, study):
    assert told(store, study) == []
    make(store, study)
    assert told(store, study) == []
    edit(package, "training.py", "class Trainer", "class Trainer")
    assert told(store, study) == []


def test_the_file_that_changed_is_named_with_what_it_made(package, store, study):
    make(store, study)
    edit(package, "unet/blocks.py", "F.silu", "F.relu")
    lines = told(store, study)
    # The trainings of two variants and their untrained control, at two seeds; what only follows from them is not told.
    first = "6 stored results of training made before unet/blocks.py changed: not used, made again"
    assert lines[0] == f"{first} (--accept-code takes such results as they are)"
    assert {line.split(" of ")[1].split(" made")[0] for line in lines} == {"training", "sampling", "segmentation"}


def test_what_follows_from_a_change_is_not_said_to_have_changed(package, store, study):
    make(store, study)
    edit(package, "training.py", "clip_grad_norm_", "clip_grad_value_")
    assert ["training.py" in line for line in told(store, study)] == [True]


def test_artefacts_of_before_code_was_recorded_are_told(store, study):
    make(store, study, recorded=False)
    assert told(store, study)[0].startswith("6 stored results of training made before code was part of a key: not used")


def test_accepted_artefacts_are_used_under_the_keys_that_they_have(package, store, study):
    make(store, study)
    config = study.trials[0].config
    before = stage_keys(config, study.about)
    edit(package, "diffusion/samplers.py", ".clamp(-1, 1)", "")
    earlier = EarlierCode(store, study.about)
    assert stage_keys(config, study.about) != before
    assert earlier.keys(config) == before
    accepting = study.of_generation(0, earlier.keys)
    (trial,) = [t for t in accepting.trials if t.row == study.trials[0].row]
    assert (dict(trial.stages), trial.key) == (before, study.trials[0].key)
    assert accepting.accepted(trial.config) == ["samples", "fid"]
    assert study.accepted(trial.config) == []


def test_accepted_keys_of_before_code_was_recorded_give_the_trial_key_of_then(store, study):
    make(store, study, recorded=False)
    config = study.trials[0].config
    assert EarlierCode(store, study.about).keys(config) == settings_keys(config, study.about)


def test_the_newest_of_other_codes_is_taken_and_today_s_before_all(package, store, study):
    config = study.trials[0].config
    make(store, study, recorded=False)
    make(store, study, made=10.0)
    first = stage_keys(config, study.about)
    edit(package, "unet/blocks.py", "F.silu", "F.relu")
    make(store, study, made=20.0)
    second = stage_keys(config, study.about)
    edit(package, "unet/blocks.py", "F.relu", "F.gelu")
    assert EarlierCode(store, study.about).keys(config) == second
    edit(package, "unet/blocks.py", "F.gelu(", "F.silu(")
    assert first["ddpm"] != second["ddpm"]


def test_a_stage_that_is_missing_is_made_by_today_s_code_on_what_was_accepted(package, store, study):
    make(store, study)
    config = study.trials[0].config
    before = stage_keys(config, study.about)
    store.remove("fid", before["fid"])
    edit(package, "diffusion/samplers.py", ".clamp(-1, 1)", "")
    found = EarlierCode(store, study.about).keys(config)
    # Its own code is today's and so is that of the accepted samples: the key that it had.
    assert found == before
    edit(package, "evaluation/frechet.py", "eigvals", "eigvalsh")
    found = EarlierCode(store, study.about).keys(config)
    assert {stage for stage in found if found[stage] != before[stage]} == {"fid"}
    assert code_of(found["fid"]) != code_of(stage_keys(config, study.about)["fid"])


def test_other_settings_are_no_earlier_code(package, store, study, tiny):
    make(store, study)
    other = apply(study.baseline, {"training.train_steps": 9})
    edit(package, "unet/blocks.py", "F.silu", "F.relu")
    assert EarlierCode(store, study.about).keys(other)["ddpm"] == stage_keys(other, study.about)["ddpm"]
