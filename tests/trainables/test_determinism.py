"""Figures do not depend on the cores that a trial has on a CPU, unless one asks for all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainables.determinism import modes

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import sys
import torch
from trainables.determinism import set_determinism
set_determinism(torch.device("cpu"), 2, sys.argv[1] == "True")
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(("deterministic", "threads"), [(True, 1), (False, 2)])
def test_a_trial_on_two_cores_adds_up_on_one_unless_all_are_asked_for(deterministic: bool, threads: int) -> None:
    words = [sys.executable, "-c", PROGRAM, str(deterministic)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads


def test_a_cpu_has_no_modes_that_change_its_figures() -> None:
    assert modes(torch.device("cpu")) == []


def test_a_gpus_modes_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=False))
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(allow_tf32=True))
    assert modes(gpu) == ["TF32 in cudnn"]
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    torch.backends.cuda.matmul.allow_tf32 = True
    assert modes(gpu) == ["TF32 in matmul and cudnn", "deterministic"]
