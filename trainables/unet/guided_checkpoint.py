"""guided-diffusion's checkpoints: whether a file is one that fits the settings, and the network with its weights.

A checkpoint tells by its keys and shapes whether it fits the settings, but for one: `num_head_channels` changes no
shape. The file's SHA-256 is `Pretrained.weights`. No code in a file is ever run.
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from trainables.config import Pretrained
from trainables.data import DataError
from trainables.unet.guided_diffusion import GuidedUNet

WRITTEN_BY_TORCH = (b"PK", b"\x80")  # how a zip and a pickle begin
LISTED = 20  # keys of one kind that an error names


def load_checkpoint(
    path: Path, settings: Pretrained, image_channels: int, image_size: int, device: torch.device
) -> GuidedUNet:
    """The network with the checkpoint's weights, on `device`, for inference: no gradients are asked of them.

    The weights are copied, so that what happens to the file later does not matter.

    Args:
        path: a state dict of tensors as guided-diffusion saves it; no code in it is ever run.
        settings: `weights` is the file's SHA-256.

    Raises:
        DataError: the file is another one, is no checkpoint, or does not fit the settings.
    """
    digest = _sha256(path)
    if digest != settings.weights:
        raise DataError(f"{path} is another checkpoint: its SHA-256 is {digest}, but weights is {settings.weights}")
    model = _on_meta(settings, image_channels, image_size)
    state = _state_dict(path, model)
    model = model.to(memory_format=torch.channels_last).to_empty(device=device)
    model.load_state_dict(state, strict=True)
    return model.requires_grad_(False).eval()


def check_checkpoint(path: Path, settings: Pretrained, image_channels: int, image_size: int) -> str:
    """The file's SHA-256, once its keys and shapes are seen to fit.

    The weights are read for the sum alone and nothing is kept of them, unless the file is in torch's format of
    before 1.6, which is read as a whole.

    Args:
        settings: all but `weights`, which is what this returns.

    Raises:
        DataError: the file cannot be read, is no checkpoint, or does not fit the settings.
    """
    digest = _sha256(path)
    _state_dict(path, _on_meta(settings, image_channels, image_size))
    return digest


def _on_meta(settings: Pretrained, image_channels: int, image_size: int) -> GuidedUNet:
    with torch.device("meta"):
        return GuidedUNet(settings, image_channels, image_size)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _state_dict(path: Path, model: GuidedUNet) -> dict[str, Tensor]:
    """The file's tensors, mapped and not yet read, in the names and shapes of `model`'s."""
    with path.open("rb") as file:
        if not file.read(2).startswith(WRITTEN_BY_TORCH):
            raise DataError(f"{path} is no checkpoint of plain tensors: torch.save writes no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that torch did not write: what is wrong with it is said below
            # Files in torch's format of before 1.6 cannot be mapped.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # an unpickler may raise anything for a file that is not its own
        raise DataError(f"{path} is no checkpoint of plain tensors: {_reason(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise DataError(f"{path} is no checkpoint: it holds a {type(state).__name__}, not tensors by their names")
    differences = _differences(state, model.state_dict())
    if any(differences.values()):
        counts = ", ".join(f"{len(keys)} {difference}" for difference, keys in differences.items())
        lines = [line for difference, keys in differences.items() for line in _listed(keys, difference)]
        raise DataError(f"{path} is not of this architecture; keys: {counts}", lines)
    return state


def _differences(state: dict[str, object], needed: dict[str, Tensor]) -> dict[str, list[str]]:
    """The lines on the keys that do not fit, by what is the matter with them."""
    return {
        "missing": [f"{key}: missing" for key in needed if key not in state],
        "not expected": [f"{key}: not expected" for key in state if key not in needed],
        "of another shape or type": [
            f"{key}: {_what(state[key])}, expected {_what(tensor)}"
            for key, tensor in needed.items()
            if key in state and not _fits(state[key], tensor)
        ],
    }


def _fits(found: object, needed: Tensor) -> bool:
    return isinstance(found, Tensor) and found.is_floating_point() and found.shape == needed.shape


def _what(found: object) -> str:
    return f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__


def _listed(lines: list[str], difference: str) -> list[str]:
    return lines if len(lines) <= LISTED else [*lines[:LISTED], f"and {len(lines) - LISTED} more {difference}"]


def _reason(error: Exception) -> str:
    """What `error` says first, without torch's advice to load the file with its code."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    return f"{type(error).__name__} {text}".splitlines()[0].partition(". ")[0]
