"""The GPUs of a machine, by an nvidia-smi that is a script of these tests."""

import os

import pytest

from orchestrator.cluster import resources
from orchestrator.cluster.resources import Resources, device_told, gpus
from orchestrator.run import main

TWO = "echo 'NVIDIA H100 80GB HBM3'; echo 'NVIDIA H100 80GB HBM3'"
HANGS = "exec sleep 60"
FAILS = "echo 'NVIDIA-SMI has failed because it could not talk to the NVIDIA driver.'; exit 9"
NONE = "echo 'No devices were found'; exit 6"


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts an nvidia-smi in front of the machine's own."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(resources, "SMI_LIMIT_S", 1.0)

    def put(script):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "nvidia-smi").chmod(0o755)

    return put


def test_the_gpus_that_are_told_and_not_hidden(smi, monkeypatch):
    smi(TWO)
    assert gpus() == ["NVIDIA H100 80GB HBM3"] * 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert len(gpus()) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []


def test_a_machine_without_gpus_is_no_failure(smi):
    smi(NONE)
    assert gpus() == []


@pytest.mark.parametrize(
    ("script", "said"), [(HANGS, "no answer within 1 s"), (FAILS, "fails (NVIDIA-SMI has failed because")]
)
def test_an_nvidia_smi_that_does_not_tell_is_refused_but_for_trials_on_the_cpu(
    script, said, smi, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    smi(script)
    assert main(["ablations"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert f"error: nvidia-smi: {said}" in err
    assert "--gpus-per-trial 0 runs the trials on the CPU" in err
    assert not (tmp_path / "runs").exists()
    assert main(["ablations", "--dry-run", "--gpus-per-trial", "0"]) == 0


@pytest.mark.parametrize(
    ("script", "resources", "visible", "told"),
    [
        (TWO, Resources(1, 0.5), None, "device: NVIDIA H100 80GB HBM3, 0.5 GPU a trial, of 2"),
        (TWO, Resources(1, 0), None, "are not used (--gpus-per-trial 0): NVIDIA H100 80GB HBM3"),
        (TWO, Resources(1, 0), "", "are not used (CUDA_VISIBLE_DEVICES hides them): NVIDIA H100"),
        (FAILS, Resources(1, 0), None, "this machine seems to have a GPU, which is not used"),
        (NONE, Resources(1, 0), None, "device: CPU, 1 of 3 cores a trial"),
        (NONE, Resources(2, 0), None, "2 of 3 cores a trial, of which torch uses one (--no-deterministic uses all"),
        (NONE, Resources(2, 0, 0, False), None, "device: CPU, 2 of 3 cores a trial"),
    ],
)
def test_a_run_says_its_device_and_which_gpus_stay_idle(script, resources, visible, told, smi, monkeypatch):
    smi(script)
    monkeypatch.setattr("orchestrator.cluster.resources.cpus", lambda: 3)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert told in device_told(resources, "local")


def test_of_a_cluster_what_each_trial_gets_is_said():
    assert device_told(Resources(1, 1), "auto") == "device: 1 GPU a trial, of the Ray cluster at auto"
