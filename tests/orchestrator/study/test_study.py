"""The whole command with real Ray and a real MLflow store, on a study of seconds, without a network."""

import csv
import json
import os
import re
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from processes import listens
from waiting import wait_until

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.storage.locations import Locations
from orchestrator.study.study import _leave_file, claimed
from search_spaces.spaces import ABLATIONS
from trainables import claims

WILD = ["--variants", "cosine", "--variant", "wild: training.learning_rate=1e30"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, commands):
    """A study in which one variant diverges, run twice."""
    storage = tmp_path_factory.mktemp("study")
    command = commands(storage, *WILD)
    first = command.run()
    between = command.runs()[1]
    return command, first, between, command.run()


def test_a_failed_trial_makes_the_exit_code_1_and_is_shown_beside_the_others(study):
    _, first, _, _ = study
    assert first.returncode == 1, first.stdout + first.stderr
    assert "FAILED" in first.stdout
    assert "Diverged: at step" in first.stdout
    for name in ("baseline", "cosine", "untrained", "real_images", "raw_pixels"):
        assert re.search(rf"^{name} .*\d", first.stdout, re.MULTILINE), first.stdout
    assert "Traceback" not in first.stdout + first.stderr


def test_mlflow_has_one_run_a_trial_with_how_it_ended(study):
    _, _, between, _ = study
    expected = dict.fromkeys(["baseline", "cosine", "untrained", "real_images", "raw_pixels"], "FINISHED")
    expected["wild"] = "FAILED"
    assert {name: run.info.status for name, run in between.items()} == {f"{n}-seed0": s for n, s in expected.items()}
    assert between["wild-seed0"].data.tags["error"].startswith("Diverged: at step ")
    assert {"fid_digits", "miou", "loss", "wall_time_s"} <= set(between["baseline-seed0"].data.metrics)
    assert not {"pid", "timestamp", "iterations_since_restore"} & set(between["baseline-seed0"].data.metrics)


def test_pictures_are_artefacts_and_files(study):
    command, _, between, _ = study
    client, _ = command.runs()
    run_id = between["baseline-seed0"].info.run_id
    logged = {Path(a.path).name for a in client.list_artifacts(run_id, "pictures")}
    assert logged == {"samples.png", "denoising.png", "masks.png", "loss.png", "classifier.png"}
    (folder,) = (command.storage / "studies").glob("*/pictures/baseline-seed0")
    for picture in logged:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_the_same_command_runs_only_what_is_missing(study):
    command, _, between, second = study
    assert "6 trials: 5 done" in second.stdout
    assert second.returncode == 1
    _, after = command.runs()
    assert {n: r.info.run_id for n, r in after.items()} == {n: r.info.run_id for n, r in between.items()}
    assert after["baseline-seed0"].data.metrics == between["baseline-seed0"].data.metrics


def test_the_table_on_disk_has_the_figures_that_mlflow_has(study):
    command, _, between, _ = study
    (table,) = (command.storage / "studies").glob("*/table.csv")
    rows = {(row["variant"], row["metric"]): row for row in csv.DictReader(table.open())}
    for variant in ("baseline", "cosine", "untrained"):
        expected = between[f"{variant}-seed0"].data.metrics["miou"]
        assert float(rows[variant, "miou"]["mean"]) == pytest.approx(expected, rel=1e-12)


def test_the_same_seed_gives_the_same_figures_to_the_last_digit(study, finished):
    _, _, between, _ = study
    _, after = finished.runs()
    for name in ("baseline-seed0", "cosine-seed0", "untrained-seed0", "real_images-seed0", "raw_pixels-seed0"):
        for metric in ("fid_digits", "miou", "pixel_accuracy", "loss"):
            assert after[name].data.metrics.get(metric) == between[name].data.metrics.get(metric), (name, metric)


def test_a_command_that_finds_all_done_waits_for_neither_torch_nor_ray(finished, copied):
    command = copied(finished)
    command.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    again = command.run()
    assert again.returncode == 0 and "5 done, 0 to run" in again.stdout, again.stdout + again.stderr
    imported = {line.split("|")[-1].strip() for line in again.stderr.splitlines() if line.startswith("import time")}
    assert "mlflow" in imported
    assert not imported & {"torch", "ray", "sklearn"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for left processes in /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_interrupt_stops_all_and_leaves_nothing_running(stop, tmp_path, commands):
    command = commands(tmp_path / "runs", "--variants", "cosine", train_steps=1_000_000)
    process = command.start()
    wait_until(lambda: ": training" in command.text(), "a training begins", 120, process=process, log=command.out)
    # A terminal sends Ctrl-C, and its own end, to the whole group; a scheduler's SIGTERM goes to the one process.
    process.send_signal(stop) if stop == signal.SIGTERM else os.killpg(process.pid, stop)
    assert process.wait(60) == 130
    assert "0 of 5 trials are done; the same command goes on" in command.text()
    assert "Traceback" not in command.text(), command.text()
    wait_until(lambda: not command.processes(), "every process of the command ends", 10)
    _, after = command.runs()
    assert after
    assert {run.info.status for run in after.values()} == {"KILLED"}


@pytest.mark.slow
def test_an_interrupt_at_any_moment_of_the_start_is_heeded_and_breaks_nothing(tmp_path, commands):
    command = commands(tmp_path / "runs", "--variants", "baseline", train_steps=100_000)
    for after_s in (0.4, 2.0, 4.0):
        process = command.start()
        # Before that no program can answer: the kernel ends it, and a shell tells the same 130 of it.
        wait_until(partial(listens, process.pid, signal.SIGINT), "Python listens", 60, process=process)
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130, (after_s, command.text())
    assert "Traceback" not in command.text(), command.text()
    again = commands(command.storage, "--variants", "baseline").run()
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.slow
def test_two_studies_may_begin_at_once_in_a_new_folder(tmp_path, commands):
    command = commands(tmp_path / "runs", "--variants", "baseline")
    processes = [command.start("--name", name) for name in ("one", "other")]
    assert [process.wait(200) for process in processes] == [0, 0], command.text()
    client = MlflowClient(f"sqlite:///{command.storage}/mlflow.db")
    expected = {f"{name}-seed0" for name in ("baseline", "untrained", "real_images", "raw_pixels")}
    figures = {}
    for name in ("one", "other"):
        found = client.search_runs([client.get_experiment_by_name(name).experiment_id], "tags.seed LIKE '%'")
        assert {run.info.run_name: run.info.status for run in found} == dict.fromkeys(expected, "FINISHED")
        assert len(found) == len(expected)
        figures[name] = {run.info.run_name: run.data.metrics["miou"] for run in found if "miou" in run.data.metrics}
        assert (command.storage / "studies" / name / "table.csv").exists()
    assert figures["one"] == figures["other"]
    assert len(figures["one"]) == 3
    # What they share was made once.
    assert len(list((command.storage / "store" / "ddpm").iterdir())) == 2  # the baseline's, and the untrained one


def test_a_study_whose_driver_is_gone_since_the_machine_was_started_anew_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "DEAD_AFTER_S", 0.5)
    owner = {"host": "here", "machine": "here, at another start", "pid": 1, "started": "1", "beat": 7}
    left = tmp_path / "store" / "claims" / "study-mine" / "left"
    left.parent.mkdir(parents=True)
    left.write_text(json.dumps(owner))
    locations = Locations(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "store"))
    mine = plan.build(Request(ABLATIONS, name="mine"))
    assert claimed(mine, locations, False, lambda study, locations: 0) == 0
    assert "mine was being run by process 1 on here: waiting to see whether it lives" in capsys.readouterr().out
    assert not left.exists()


def test_a_study_file_that_cannot_be_written_is_told_and_costs_nothing_else(tmp_path):
    lines = []
    session = SimpleNamespace(board=SimpleNamespace(line=lines.append))  # its writer is not asked for anything
    _leave_file(plan.build(Request(ABLATIONS, name="mine")), tmp_path / "gone" / "study.yaml", session)
    (line,) = lines
    assert line.startswith("no study.yaml: FileNotFoundError")
