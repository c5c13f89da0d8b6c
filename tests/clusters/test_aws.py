"""cluster.yaml and docs/cluster.md's commands against a fake of AWS: up, a study whose spot worker is taken away, down.

aws_on_loopback.py does it all, once, in a network that has no way out; what it saw is judged here.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from processes import started_with

from search_spaces.ablations import CONTROLS

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("aws_on_loopback.py")
STEPS = 800
TRAINED = ["baseline", "cosine"]
TRIALS = [*TRAINED, *CONTROLS]
PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "ssh", "ssh-keygen", "rsync", "aws")
MODULES = ("moto", "flask", "boto3", "s3fs", "flask_wtf", "psycopg", "aiohttp_cors")
SPACES = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
LIMIT_S = 3600

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(LIMIT_S + 300)]


def missing() -> str:
    """What this machine lacks for it, in words."""
    if os.geteuid() != 0:
        return "only root may make machines of namespaces"
    for program in PROGRAMS:
        if not shutil.which(program) and not Path(sys.base_prefix, "bin", program).exists():
            return f"there is no {program}"
    if not Path("/usr/sbin/sshd").exists():
        return "there is no sshd"
    for module in MODULES:
        if not importlib.util.find_spec(module):
            return f"there is no {module}: pip install '.[cluster]' 'moto[server]'"
    if subprocess.run([*SPACES, "true"], capture_output=True, check=False).returncode:
        return "root may make no namespaces here"
    return ""


@pytest.fixture(scope="module")
def words(tiny_words):
    """The study's: two models that are trained long enough to be interrupted, and their controls."""
    often = ["--checkpoint-interval", "1"]
    return ["--gpus-per-trial", "0", "--max-concurrent", "2", "--variants", "cosine", *often, *tiny_words(STEPS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("aws")


@pytest.fixture(scope="module")
def seen(words, folder):
    if why := missing():
        pytest.fail(f"make cluster-test: {why}")  # who asks for it by name must not take a skip for a pass
    process = subprocess.Popen(
        [*SPACES, sys.executable, str(SCRIPT), str(folder), *words],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        out, _ = process.communicate(timeout=LIMIT_S)
    finally:
        process.send_signal(signal.SIGKILL)  # and the kernel ends all that it has started
        process.wait()
    assert process.returncode == 0, f"see {folder}"
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def undisturbed(undisturbed_figures):
    return undisturbed_figures(TRIALS, STEPS)


def test_the_machines_are_those_that_were_asked_for(seen):
    edited = yaml.safe_load((ROOT / "cluster.yaml").read_text())["metadata"]
    head, worker = seen["head"], seen["gpu_worker"]
    assert (head["type"], head["market"], head["disk"]) == (edited["head"], "on demand", edited["head_disk"])
    assert (worker["type"], worker["market"], worker["disk"]) == (edited["worker"], "spot", edited["worker_disk"])
    assert (head["profile"], worker["profile"]) == ("ablations-head", "ablations-worker")
    assert [m["tags"]["ray-node-type"] for m in (head, worker)] == ["head", "worker"]
    for machine in (head, worker):
        assert machine["region"] == edited["region"]
        assert machine["encrypted"] and machine["tokens"] == "required"
        assert machine["tags"]["ray-cluster-name"] == "ablations"
        assert machine["tags"]["project"] == machine["disk_tags"]["project"] == "diffusion-ablations"


def test_nobody_may_do_more_than_the_policies_say(seen):
    assert seen["refusals"] == ["AccessDenied", "AccessDenied"]


def test_the_set_up_asked_for_what_the_image_lacks(seen):
    assert "sudo apt-get -o DPkg::Lock::Timeout=600 -qq install --yes python3-venv" in seen["asked"]


def test_a_trial_with_a_gpu_may_be_launched(seen):
    assert "may be launched: gpu_worker" in seen["check"]


def test_the_study_ends_well_though_its_worker_was_taken_away(seen):
    assert seen["study"] == 0, seen["said"]
    assert {name: run["status"] for name, run in seen["runs"].items()} == {f"{n}-seed0": "FINISHED" for n in TRIALS}
    assert seen["said"].count("its worker was lost, attempt 2") == len(TRAINED)
    assert seen["workers"] >= 2


def test_a_gpu_that_does_not_answer_is_found_before_a_study(seen):
    code, said = seen["no_gpu"]
    assert code != 0
    assert re.search(r"dry trial\s*│ NO\b", said), said


def test_the_trials_went_on_from_their_checkpoints(seen):
    assert len(seen["checkpoints"]) == len(TRAINED)
    for model, step in seen["checkpoints"].items():
        assert 0 < step < STEPS
        assert min(seen["read_again"][model]) >= step
    for name in TRAINED:
        steps = seen["runs"][f"{name}-seed0"]["steps"]
        assert len(steps) == len(set(steps))
        assert max(steps) == STEPS


def test_the_figures_are_those_of_one_machine(seen, undisturbed):
    for name, metrics in undisturbed.items():
        assert {metric: seen["runs"][name]["metrics"][metric] for metric in metrics} == metrics


def test_the_report_is_brought_to_the_laptop(seen):
    assert seen["brought"]


def test_nothing_is_left(seen, folder):
    assert seen["errors"] == []
    assert set(seen["states"].values()) == {"terminated"}
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert started_with(f"={folder}/") == {}
    assert "cloud" not in os.listdir("/sys/class/net")
