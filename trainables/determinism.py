"""How far a trial's figures depend on what it runs on."""

from __future__ import annotations

import os

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # without it cuBLAS adds up in whatever order its streams end


def set_determinism(device: torch.device, cpus: int, deterministic: bool) -> None:
    """Sets torch's threads and choices of kernels for this process, before it computes anything.

    On a CPU the order in which numbers are added up follows from the number of threads, so there is one. On a GPU each
    operation gets its deterministic kernel where it has one; the kind of GPU still decides the last digits.

    Args:
        cpus: cores of the trial.
    """
    torch.set_num_threads(1 if deterministic and device.type == "cpu" else max(1, cpus))
    if device.type == "cuda":
        if deterministic:
            os.environ.setdefault(WORKSPACE, ":4096:8")
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.backends.cudnn.benchmark = False


def modes(device: torch.device) -> list[str]:
    """What of torch's modes decides last digits on the device, in words."""
    if device.type != "cuda":
        return []
    tf32 = [n for n, b in (("matmul", torch.backends.cuda.matmul), ("cudnn", torch.backends.cudnn)) if b.allow_tf32]
    found = [f"TF32 in {' and '.join(tf32)}"] if tf32 else []
    return [*found, *(["deterministic"] if torch.are_deterministic_algorithms_enabled() else [])]
