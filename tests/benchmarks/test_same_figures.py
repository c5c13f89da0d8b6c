"""The guard for refactorings: what it takes for a difference, and how it names it."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import same_figures
import study_outcomes
from safetensors.numpy import save_file

KEYS = {"ddpm": "d1", "samples": "s1", "fid": "f1"}
RUN = {
    "status": "FINISHED",
    "params": {"seed": "0"},
    "tags": {"variant": "baseline", "trial_key": "t1"},
    "metrics": {"fid_digits": [(0, 1.5)], "loss": [(1, 0.5), (2, 0.25)]},
}


def stored(store, keys):
    """The artefacts of one trial in a store, by stage."""
    folders = {stage: store / stage / key for stage, key in keys.items()}
    for folder in folders.values():
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"facts": {"wall_time_s": id(folder)}}))
    save_file({"w": np.arange(4, dtype=np.float32)}, folders["ddpm"] / "ema.safetensors")
    (folders["ddpm"] / "history.json").write_text(json.dumps([[1, {"loss": 0.5}], [2, {"loss": 0.25}]]))
    np.save(folders["samples"] / "samples.npy", np.zeros((2, 3), dtype=np.uint8))
    np.savez(folders["samples"] / "denoising.npz", frames=np.array([0.0, np.nan]), names=np.array(["a", "bc"]))
    (folders["fid"] / "metrics.json").write_text(json.dumps({"fid_digits": 1.5, "sd": float("nan")}))
    return folders


@pytest.fixture
def sides(tmp_path):
    """Makes the outcomes of two commits that are the same but for the second one's keys."""

    def made(keys=KEYS):
        outcomes = []
        for name, own in (("before", KEYS), ("after", keys)):
            stored(tmp_path / name, own)
            study = {"baseline-seed0": study_outcomes.Run(**RUN, keys=own)}
            outcomes.append(study_outcomes.Outcome(tmp_path / name, {"study": study}))
        return outcomes

    return made


def differences(sides, **settings):
    comparison = study_outcomes.Comparison(*sides, **settings)
    return [tuple(difference) for difference in comparison.differences()], dict(comparison.counts)


def test_the_same_is_counted(sides):
    assert differences(sides()) == ([], {"artefacts": 3, "arrays": 4, "metrics": 3})


def change_weights(store):
    save_file({"w": np.array([0, 1, 2.5, 3], dtype=np.float32)}, store / "ddpm/d1/ema.safetensors")


def change_a_byte(store):
    save_file({"w": np.arange(4, dtype=np.float32)}, store / "ddpm/d1/ema.safetensors", metadata={"a": "b"})


def change_samples(store):
    np.save(store / "samples/s1/samples.npy", np.array([[0, 0, 0], [0, 7, 0]], dtype=np.uint8))


def change_the_dtype(store):
    np.save(store / "samples/s1/samples.npy", np.zeros((2, 3), dtype=np.int8))


def change_a_sign(store):
    np.savez(store / "samples/s1/denoising.npz", frames=np.array([-0.0, np.nan]), names=np.array(["a", "bc"]))


def leave_an_array_out(store):
    np.savez(store / "samples/s1/denoising.npz", frames=np.array([0.0, np.nan]))


def change_a_loss(store):
    (store / "ddpm/d1/history.json").write_text(json.dumps([[1, {"loss": 0.5}], [2, {"loss": 0.25000000000000006}]]))


def change_a_step(store):
    (store / "ddpm/d1/history.json").write_text(json.dumps([[1, {"loss": 0.5}], [3, {"loss": 0.25}]]))


def remove_a_file(store):
    (store / "fid/f1/metrics.json").unlink()


def remove_an_artefact(store):
    (store / "fid/f1/manifest.json").unlink()


def add_an_artefact(store):
    (store / "new/n1").mkdir(parents=True)
    (store / "new/n1/manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("plant", "difference"),
    [
        (change_weights, ("ddpm/d1 (study, baseline-seed0), ema.safetensors, w[2]", 2.0, 2.5)),
        (change_samples, ("samples/s1 (study, baseline-seed0), samples.npy, [1, 1]", 0, 7)),
        (change_the_dtype, ("samples/s1 (study, baseline-seed0), samples.npy", "uint8 (2, 3)", "int8 (2, 3)")),
        (change_a_sign, ("samples/s1 (study, baseline-seed0), denoising.npz, frames[0]", 0.0, -0.0)),
        (leave_an_array_out, ("samples/s1 (study, baseline-seed0), denoising.npz, names", "there", "nothing")),
        (change_a_loss, ("ddpm/d1 (study, baseline-seed0), history.json, step 2, loss", 0.25, 0.25000000000000006)),
        (change_a_step, ("ddpm/d1 (study, baseline-seed0), history.json, step 2", {"loss": 0.25}, "nothing")),
        (remove_a_file, ("fid/f1 (study, baseline-seed0), metrics.json", "there", "nothing")),
        (remove_an_artefact, ("fid/f1 (study, baseline-seed0)", "there", "nothing")),
        (add_an_artefact, ("new/n1 (of no trial)", "nothing", "there")),
    ],
)
def test_a_difference_in_the_store_is_named(sides, tmp_path, plant, difference):
    outcomes = sides()
    plant(tmp_path / "after")
    found, _ = differences(outcomes)
    assert found[0] == difference


def test_bytes_that_are_no_array_are_compared_too(sides, tmp_path):
    outcomes = sides()
    change_a_byte(tmp_path / "after")
    ((where, before, after),), _ = differences(outcomes)
    assert where.startswith("ddpm/d1 (study, baseline-seed0), ema.safetensors, byte ")
    assert before != after


def test_the_layout_of_json_and_the_making_of_an_artefact_are_no_figures(sides, tmp_path):
    outcomes = sides()
    path = tmp_path / "after" / "ddpm/d1/history.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    (path.parent / "manifest.json").write_text(json.dumps({"facts": {"machine": "another"}}))
    assert differences(outcomes)[0] == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"status": "FAILED"}, ("study, baseline-seed0, status", "FINISHED", "FAILED")),
        ({"params": {"seed": "1"}}, ("study, baseline-seed0, param seed", "0", "1")),
        ({"tags": {"trial_key": "t1"}}, ("study, baseline-seed0, tag variant", "baseline", "nothing")),
        (
            {"metrics": {**RUN["metrics"], "loss": [(1, 0.5), (2, 0.26)]}},
            ("study, baseline-seed0, metric loss, step 2", 0.25, 0.26),
        ),
        (
            {"metrics": {**RUN["metrics"], "loss": [(1, 0.5), (1, 0.5), (2, 0.25)]}},
            ("study, baseline-seed0, metric loss, the next step", 2, 1),
        ),
        (
            {"metrics": {"loss": RUN["metrics"]["loss"]}},
            ("study, baseline-seed0, metric fid_digits, the next step", 0, "nothing"),
        ),
    ],
)
def test_a_difference_in_mlflow_is_named(sides, change, difference):
    before, after = sides()
    run = replace(after.studies["study"]["baseline-seed0"], **change)
    after = replace(after, studies={"study": {"baseline-seed0": run}})
    found, _ = differences((before, after))
    assert found[0] == difference


def test_another_name_of_the_study_or_of_a_run_is_named(sides):
    before, after = sides()
    runs = after.studies["study"]
    found, _ = differences((before, replace(after, studies={"other": runs})))
    assert found[0] == ("study", "study", "other")
    found, _ = differences((before, replace(after, studies={"study": {}})))
    assert found[0] == ("run of study", "baseline-seed0", "nothing")


def test_the_first_stage_whose_key_differs_is_named_and_what_lies_under_the_keys_can_be_compared(sides, tmp_path):
    outcomes = sides({"ddpm": "d1", "samples": "s2", "fid": "f2"})
    found, _ = differences(outcomes)
    assert found[0] == ("study, baseline-seed0, key of samples", "s1", "s2")
    found, counts = differences(outcomes, by_trial=True)
    assert (found, counts["artefacts"]) == ([], 3)
    np.save(tmp_path / "after/samples/s2/samples.npy", np.ones((2, 3), dtype=np.uint8))
    found, _ = differences(outcomes, by_trial=True)
    assert found == [("samples/s1 and s2 (study, baseline-seed0), samples.npy, [0, 0]", 0, 1)]


def test_what_mlflow_holds_is_read_without_what_may_differ(tmp_path):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("study", artifact_location=(tmp_path / "a folder").as_uri())
    for variant in ("baseline", "baseline", "adagn"):
        tags = {"variant": variant, "git_commit": "abc", "machine": "here"}
        run = client.create_run(experiment, run_name=f"{variant}-seed0", tags=tags).info
        client.log_param(run.run_id, "seed", 0)
        for metric, step, value in (
            ("loss", 2, 0.25),
            ("loss", 1, 0.5),
            ("wall_time_s", 0, 3),
            ("fid_wall_time_s", 0, 1),
        ):
            client.log_metric(run.run_id, metric, value, step=step)
        client.log_dict(run.run_id, {"artefacts": KEYS}, "result.json")
        client.set_terminated(run.run_id, "FINISHED")
    found = study_outcomes.outcome(tmp_path)
    expected = {"status": "FINISHED", "params": {"seed": "0"}, "metrics": {"loss": [(1, 0.5), (2, 0.25)]}, "keys": KEYS}
    assert found.studies == {
        "study": {
            name: study_outcomes.Run(tags={"variant": name.split("-")[0]}, **expected)
            for name in ("adagn-seed0", "baseline-seed0", "baseline-seed0, run 2")
        }
    }


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of one commit, in place of this one."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "file").write_text("as committed")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.setattr(same_figures, "ROOT", folder)
    return folder


@pytest.mark.parametrize("revision", ["nothing", "HEAD~1", "0" * 40, "HEAD:file"])
def test_a_revision_that_is_not_there_is_refused_in_one_line(repository, capsys, revision):
    assert same_figures.main([revision]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"error: REV: there is no commit {revision!r} in {repository}"]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", "it said nothing"),
        ("error: --set: no\n", "error: --set: no"),
        (
            "started\nbaseline: FAILED after 1 s: why\nadagn: FAILED: too\n0 of 2 are done\n\n",
            "baseline: FAILED after 1 s: why",
        ),
    ],
)
def test_a_study_that_ends_badly_is_told_with_its_reason(output, line):
    assert same_figures.reason(output) == line


def test_a_folder_to_keep_that_has_files_is_refused(repository, capsys):
    assert same_figures.main(["HEAD", "--keep", str(repository)]) == 2
    assert "must be a new folder" in capsys.readouterr().err


def test_git_forgets_the_folder_of_the_commit_whatever_happens(repository, tmp_path):
    def stopped(folder):
        with same_figures.checked_out("HEAD", folder) as code:
            assert (code / "file").read_text() == "as committed"
            (code / "file").write_text("changed there")
            raise KeyboardInterrupt

    (repository / "file").write_text("changed since")
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "code")
    assert not (tmp_path / "code").exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
