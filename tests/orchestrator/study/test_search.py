"""Searches: real Ray, real Optuna and MLflow stores; what was found stays, after any end."""

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.run import main

OTHER_CODE = "of-other-code"


@pytest.fixture(scope="module")
def begun(commands, tmp_path_factory):
    """A search that has measured two points."""
    few = ["--set", "segmentation.held_out_images=20", "--set", "segmentation.validation_images=4"]
    command = commands(tmp_path_factory.mktemp("search") / "runs", "--space", "segmentation", *few, name="search")
    done = command.run("--trials", "2")
    assert done.returncode == 0, done.stderr
    return command


@pytest.fixture
def command(begun, copied):
    return copied(begun)


def memory(command):
    (path,) = command.storage.glob("studies/*/optuna.db")
    (name,) = [n for n in optuna.get_all_study_names(f"sqlite:///{path}") if n != OTHER_CODE]
    assert name.startswith(f"{path.parent.name}-")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


def test_a_search_goes_on_with_more_trials_and_trains_one_ddpm(command):
    _, runs = command.runs()
    assert "baseline-seed0" in runs
    assert len(runs) == 2
    more = command.run("--trials", "3")
    assert more.returncode == 0, more.stderr
    assert "3 points: 2 done, 1 to run" in more.stdout
    found = memory(command)
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE] * 3
    _, after = command.runs()
    assert runs.keys() < after.keys()
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert after["baseline-seed0"].info.end_time == runs["baseline-seed0"].info.end_time
    # Optuna's values are the runs' own figures.
    values = sorted(run.data.metrics["validation_miou"] for run in after.values())
    assert sorted(trial.value for trial in found.trials) == pytest.approx(values)
    assert len(list((command.storage / "store" / "ddpm").iterdir())) == 1
    best = max(found.trials, key=lambda trial: trial.value)
    for name, value in best.params.items():
        word = f"'{value}'" if isinstance(value, str) else value
        assert f"--set {name}={word}" in more.stdout
    again = command.run("--trials", "3")
    assert (again.returncode, len(memory(command).trials)) == (0, 3)


def test_points_that_ran_when_the_driver_was_killed_are_run_again(command):
    cut = memory(command).ask()  # as a driver leaves it that is killed after it has asked
    cut.suggest_categorical("segmentation.batch_size", [64, 128, 256, 512])
    (path,) = command.storage.glob("studies/*/optuna.db")
    other = optuna.create_study(study_name=OTHER_CODE, storage=f"sqlite:///{path}", direction="maximize")
    other.add_trial(optuna.create_trial(value=0.99))
    done = command.run("--trials", "4")
    assert done.returncode == 0, done.stderr
    assert "4 points: 2 done, 2 to run" in done.stdout
    assert "measured by other code, and counted no more: 1 points" in done.stdout
    found = memory(command)
    assert [trial.state for trial in found.trials][2] == TrialState.FAIL
    assert sum(trial.state == TrialState.COMPLETE for trial in found.trials) == 4
    repeated = found.trials[3]
    assert repeated.params["segmentation.batch_size"] == cut.params["segmentation.batch_size"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trials", "0"], "--trials: must be at least 1"),
        (["--trials", "3", "--set", "segmentation.validation_images=0"], "segmentation.validation_images"),
        (["--trials", "3", "--seed", "-1"], "--seed"),
        (["--trials", "3", "--preset", "bedroom"], "--checkpoint"),
        (["--trials", "3", "--checkpoint", "x.pt"], "--checkpoint"),
        (["--trials", "x"], "--trials"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "--space", "segmentation", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert not list(tmp_path.iterdir())


def test_a_dry_run_shows_what_may_vary_and_writes_nothing(tmp_path, monkeypatch, capsys):
    from orchestrator.run import main

    monkeypatch.chdir(tmp_path)
    assert main(["search", "--space", "segmentation", "--trials", "50", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "50 points in all, for the best validation_miou" in " ".join(shown.split())
    assert "0.0002 to 0.02, evenly in its logarithm" in shown
    assert "7 choices, [5] to [5, 6, 7]" in shown
    assert not list(tmp_path.iterdir())
