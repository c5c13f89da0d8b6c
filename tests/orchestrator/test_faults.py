"""Faults in real processes: what is killed goes on, nothing is lost, nothing runs twice.

One kill of each kind is enough here; `make soak` goes on to a hundred (ABLATION_SOAK_KILLS). Which process is ended,
when and by which signal, follows from a seed, which is printed: ABLATION_SOAK_SEED plays the same schedule again.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from waiting import wait_until

KILLS = int(os.environ.get("ABLATION_SOAK_KILLS", "1"))
SEED = int(os.environ.get("ABLATION_SOAK_SEED", "0"))
# A soak's studies are longer and see more kills each: else most of its time would go into starts and ends.
A_ROUND, STEPS, ROUND_S = (3, 500, 240) if KILLS == 1 else (12, 1500, 1800)
TRIALS = ["baseline", "cosine", "untrained", "real_images", "raw_pixels"]
OFTEN = ["--variants", "cosine", "--checkpoint-interval", "0.3"]

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes to kill in /proc")


@pytest.fixture(scope="module")
def undisturbed(undisturbed_figures):
    return undisturbed_figures(TRIALS, STEPS)


@pytest.fixture
def command(commands, tmp_path):
    """Makes the command of one round, in a folder of its own."""

    return lambda number=0: commands(tmp_path / f"round-{number}", *OFTEN, train_steps=STEPS)


def came(condition, what, process, command):
    """Whether the condition came true before the process ended."""
    try:
        return bool(wait_until(condition, what, 120, pause_s=0.05, process=process, log=command.out))
    except RuntimeError:
        return False


def assert_as_undisturbed(command, undisturbed):
    client, runs = command.runs()
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(undisturbed, "FINISHED")
    for name, metrics in undisturbed.items():
        assert {metric: runs[name].data.metrics[metric] for metric in metrics} == metrics
        steps = [m.step for m in client.get_metric_history(runs[name].info.run_id, "loss")]
        assert len(steps) == len(set(steps))
        if name.startswith(("baseline", "cosine")):
            assert max(steps) == STEPS


def kill_some(victims, rng):
    """Ends one of the processes, mostly without a warning; whether there was one."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if victims:
            os.kill(rng.choice(victims), rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            return True
    return False


def test_workers_killed_at_random_times(command, undisturbed):
    rng, kills, rounds = random.Random(SEED), 0, 0
    print(f"\nseed {SEED}")
    while kills < KILLS:
        mine, rounds = command(rounds), rounds + 1
        process = mine.start("--max-retries", "50")
        for _ in range(A_ROUND):
            if not came(lambda mine=mine: mine.processes("ray::TrialWorker.train"), "a worker", process, mine):
                break
            time.sleep(rng.uniform(0.1, 3.0))
            kills += kill_some(mine.processes("ray::TrialWorker.train"), rng)
        assert process.wait(ROUND_S) == 0, mine.text()
        assert_as_undisturbed(mine, undisturbed)
    print(f"\nworkers killed: {rounds} rounds, {kills} kills, 0 lost records, figures equal to the undisturbed study's")


def makings(command):
    """How often each stage has been published, by the times of the manifests."""
    return {
        str(p): p.stat().st_mtime_ns for p in command.storage.rglob("manifest.json") if "checkpoints" not in p.parts
    }


def test_the_driver_killed_at_random_times_until_the_study_is_done(command, undisturbed):
    rng, kills, repeated, rounds = random.Random(SEED + 1), 0, 0, 0
    while kills < KILLS:
        mine, code, rounds = command(rounds), None, rounds + 1
        for attempt in range(40):
            before = makings(mine)
            process = mine.start()
            patience = rng.uniform(6, 16) if attempt < A_ROUND else ROUND_S
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            repeated += sum(at != makings(mine).get(path) for path, at in before.items())
            if process.poll() is not None:
                code = process.returncode
                break
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]))
            process.wait(120)
            kills += 1
        assert code == 0, mine.text()
        assert_as_undisturbed(mine, undisturbed)
    assert repeated == 0
    print(f"\ndrivers killed: {rounds} rounds, {kills} kills, {repeated} repeated stages, figures equal")


@pytest.mark.slow
def test_a_worker_that_is_asked_to_go_leaves_a_checkpoint(commands, tmp_path):
    mine = commands(tmp_path / "runs", "--variants", "baseline", "--set", "stages=[segmentation]", train_steps=100_000)
    process = mine.start("--max-concurrent", "1")
    wait_until(lambda: ": training" in mine.text(), "a training begins", 120, process=process, log=mine.out)
    checkpoints = mine.storage / "store" / "checkpoints"
    assert not list(checkpoints.glob("ddpm-*/*/manifest.json"))  # the first one comes after 10 s
    (worker,) = mine.processes("ray::TrialWorker.train")
    os.kill(worker, signal.SIGTERM)
    wait_until(lambda: list(checkpoints.glob("ddpm-*/*/manifest.json")), "a last checkpoint", 9, process=process)
    wait_until(lambda: "attempt 2" in mine.text(), "another worker", 120, process=process, log=mine.out)
    assert worker not in mine.processes("ray::TrialWorker.train")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


@pytest.mark.slow
def test_two_drivers_on_one_study(command, undisturbed):
    mine = command()
    first = mine.start()
    assert came(lambda: "started" in mine.text(), "a trial starts", first, mine)
    second = mine.run()
    assert second.returncode == 2
    assert f"is being run by process {first.pid}" in second.stderr
    assert first.wait(240) == 0, mine.text()
    assert_as_undisturbed(mine, undisturbed)


FAULTS = """
import os, sys, time

def plant():
    import torch
    from trainables.training import Trainer
    original = Trainer._backward

    def backward(self, *batch):
        kind = {"adagn": "hang", "convnext": "memory", "no_attention": "error"}.get(variant(self.config))
        if self.step == 5 and kind == "hang":
            time.sleep(600)
        if self.step == 5 and kind == "memory" and self.micro_batches == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.step == 5 and kind == "error":
            raise ValueError("the data file is corrupt")
        return original(self, *batch)

    def variant(config):
        if config.unet.norm == "adagn":
            return "adagn"
        if config.unet.block == "convnext":
            return "convnext"
        return "" if config.unet.attention_resolutions else "no_attention"

    Trainer._backward = backward

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "trainables.pipeline":
            sys.meta_path.remove(self)
            plant()

sys.meta_path.insert(0, Finder())
"""


def test_each_kind_of_failure_ends_as_it_should_beside_healthy_trials(commands, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    wild = ["--variant", "wild: training.learning_rate=1e30", "--stall-limit", "12", "--max-retries", "1"]
    command = commands(tmp_path / "runs", *wild, train_steps=30)
    command.environment["PYTHONPATH"] = str(tmp_path)
    done = command.run()
    assert done.returncode == 1, done.stdout + done.stderr
    _, runs = command.runs()
    status = {name.removesuffix("-seed0"): run.info.status for name, run in runs.items()}
    failed = {name for name, how in status.items() if how == "FAILED"}
    assert failed == {"adagn", "no_attention", "wild"}
    assert set(status.values()) == {"FAILED", "FINISHED"}
    error = {name: runs[f"{name}-seed0"].data.tags["error"] for name in failed}
    assert error["adagn"] == "stalled: no record for 12 s; 2 attempts"
    assert error["no_attention"] == "ValueError: the data file is corrupt"
    assert error["wild"].startswith("Diverged: at step ")
    assert "attempt 2" not in "".join(line for line in done.stdout.splitlines() if "adagn" not in line)
    assert "2 parts" in runs["convnext-seed0"].data.tags["status_note"]
    assert "GPU out of memory" in done.stdout


def test_a_segmentation_setting_of_its_own_trains_no_second_model(commands, tmp_path):
    variants = [f"--variant=epochs{n}: segmentation.epochs={n}" for n in range(2, 5)]
    command = commands(tmp_path / "runs", "--variants", "baseline", *variants)
    done = command.run()
    assert done.returncode == 0, done.stdout + done.stderr
    models = list((command.storage / "store" / "ddpm").iterdir())
    assert len(models) == 2  # the study's one, and the untrained control's
    assert len(list((command.storage / "store" / "segmentation").iterdir())) == 4 + 2
    _, runs = command.runs()
    assert len(runs) == 4 + 3


@pytest.mark.slow
def test_fresh_begins_anew_and_deletes_nothing(finished, copied):
    command = copied(finished)
    before = makings(command)
    again = command.run("--fresh")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "5 trials: 5 to run" in again.stdout
    after = makings(command)
    assert before.items() < after.items()
    assert len(after) == 2 * len(before)
    assert "5 done" in command.run().stdout


def test_the_store_lists_and_prunes_what_no_study_refers_to(finished, copied, capsys):
    from orchestrator.run import main

    command = copied(finished)
    storage = ["--storage", str(command.storage)]
    (study,) = [p.stem for p in (command.storage / "store" / "studies").iterdir()]
    assert main(["store", *storage]) == 0
    out = capsys.readouterr().out
    assert out.count(study) == 16
    assert main(["store", "--prune", *storage]) == 0
    assert "removed 0 artefacts" in capsys.readouterr().out
    assert main(["store", "--forget", "nothing", *storage]) == 2
    assert study in capsys.readouterr().err
    assert main(["store", "--forget", study, "--prune", *storage]) == 0
    assert "removed 16 artefacts" in capsys.readouterr().out
    assert not makings(command)
