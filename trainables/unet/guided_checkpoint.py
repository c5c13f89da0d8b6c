"""guided-diffusion's checkpoints: whether a file is one that fits the settings, and the network with its weights.

A checkpoint tells by its keys and shapes whether it fits the settings, but for some (`UNTOLD`). It may hold the network
inside of other dictionaries, `{"ema": ...}`, or with a prefix before each key, `module.`: where it holds one network
that fits, that is loaded. The file's SHA-256 is `Pretrained.weights`. No code in a file is ever run.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.data import DataError
from trainables.inputs import instead
from trainables.sections import Pretrained
from trainables.unet.guided_diffusion import GuidedUNet

WRITTEN_BY_TORCH = (b"PK", b"\x80")  # how a zip and a pickle begin
LISTED = 20  # keys of one kind that an error names
UNTOLD = ("num_head_channels", "num_heads", "num_heads_upsample", "use_new_attention_order")  # by keys and shapes
MARK = "time_embed.0.weight"  # a key of every such network, whatever its settings
DEPTH = 3  # dictionaries inside of each other


class Checked(NamedTuple):
    """A checkpoint that fits.

    Args:
        sha256: of the file.
        place: of the network in it, `['ema']` for example; "" where it is the whole file.
    """

    sha256: str
    place: str


def load_checkpoint(
    path: Path, settings: Pretrained, image_channels: int, image_size: int, device: torch.device
) -> GuidedUNet:
    """The network with the checkpoint's weights, on `device`, for inference: no gradients are asked of them.

    The weights are copied, so that what happens to the file later does not matter.

    Args:
        path: a state dict of tensors as guided-diffusion saves it; no code in it is ever run.
        settings: `weights` is the file's SHA-256.

    Raises:
        DataError: the file is another one, is no checkpoint, does not fit the settings, or holds what is no number.
    """
    digest = _sha256(path)
    if digest != settings.weights:
        raise DataError(f"{path} is another checkpoint: its SHA-256 is {digest}, but weights is {settings.weights}")
    model = _on_meta(settings, image_channels, image_size)
    _, state = _network(path, model)
    _refuse_no_numbers(path, state)
    model = model.to(memory_format=torch.channels_last).to_empty(device=device)
    model.load_state_dict(state, strict=True)
    return model.requires_grad_(False).eval()


def check_checkpoint(path: Path, settings: Pretrained, image_channels: int, image_size: int) -> Checked:
    """The file's SHA-256 and where the network is in it, once its keys and shapes are seen to fit.

    The weights are read for the sum, and to see that they are finite; nothing is kept of them, unless the file is in
    torch's format of before 1.6, which is read as a whole.

    Args:
        settings: all but `weights`, which is the SHA-256 that this returns.

    Raises:
        DataError: the file cannot be read, is no checkpoint, does not fit the settings, or holds what is no number.
    """
    digest = _sha256(path)
    place, state = _network(path, _on_meta(settings, image_channels, image_size))
    _refuse_no_numbers(path, state)
    return Checked(digest, place)


def _refuse_no_numbers(path: Path, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise DataError(f"{path} is of no use: {name} has values that are not finite")


def untold(settings: Pretrained) -> str:
    """The settings that neither keys nor shapes of a checkpoint tell, in words."""
    given = {name: getattr(settings, name) for name in UNTOLD}
    return ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)


def _on_meta(settings: Pretrained, image_channels: int, image_size: int) -> GuidedUNet:
    with torch.device("meta"):
        return GuidedUNet(settings, image_channels, image_size)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _network(path: Path, model: GuidedUNet) -> tuple[str, dict[str, Tensor]]:
    """The network's place in the file and its tensors, mapped and not yet read, in names and shapes of `model`'s."""
    content, needed = _content(path), model.state_dict()
    networks = dict(_networks(content)) or {"": content}
    fitting = {place: state for place, state in networks.items() if not any(_differences(state, needed).values())}
    if len(fitting) > 1:
        commands = [f"for {place}: {_unpacking(path, place)}" for place in fitting]
        raise DataError(
            f"{path} holds {len(fitting)} networks that fit; write the one that is meant to a file", commands
        )
    if fitting:
        return next(iter(fitting.items()))
    place, state = next(iter(networks.items()))
    differences = _differences(state, needed)
    counts = ", ".join(f"{len(keys)} {difference}" for difference, keys in differences.items())
    lines = [line for difference, keys in differences.items() for line in _listed(keys, difference)]
    inside = f" in {place}" if place else ""
    raise DataError(f"{path} is not of this architecture; keys{inside}: {counts}", lines)


def _networks(content: Mapping[str, Any], place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Any]]]:
    """The dictionaries in a file that may be a network, by their places; keys lose the prefix that they share."""
    for key in content:
        if key == MARK:
            yield place, dict(content)
        elif key.endswith(f".{MARK}"):
            prefix = key.removesuffix(MARK)
            inside = {k.removeprefix(prefix): value for k, value in content.items() if k.startswith(prefix)}
            yield f"{place}[{prefix + '*'!r}]", inside
    for key, value in content.items():
        if depth and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            yield from _networks(value, f"{place}[{key!r}]", depth - 1)


def _unpacking(path: Path, place: str) -> str:
    """The command that writes the network at a place of a file to a file of its own."""
    target = path.with_name(f"{path.stem}-{'-'.join(re.findall('[A-Za-z0-9_]+', place))}.pt")
    content, _, prefix = place.partition("*")[0].rpartition("[") if "*" in place else (place, "", "")
    loaded = f"torch.load({str(path)!r}, map_location='cpu', weights_only=True){content}"
    if prefix:
        prefix += "'"
        loaded = f"{{k.removeprefix({prefix}): v for k, v in {loaded}.items() if k.startswith({prefix})}}"
    return f'python -c "import torch; torch.save({loaded}, {str(target)!r})"'


def _content(path: Path) -> dict[str, Any]:
    """What the file holds by names, with its tensors mapped."""
    with path.open("rb") as file:
        if not file.read(2).startswith(WRITTEN_BY_TORCH):
            raise DataError(
                f"{path} is no checkpoint of plain tensors: {instead(path, 'torch.save writes no such file')}"
            )
    try:
        # Of a training's settings, which lie beside the weights in many files; it has no code.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # of a pickle that torch did not write: what is wrong with it is said below
            # Files in torch's format of before 1.6 cannot be mapped.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # an unpickler may raise anything for a file that is not its own
        raise DataError(f"{path} is no checkpoint of plain tensors: {_reason(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise DataError(f"{path} is no checkpoint: it holds a {type(state).__name__}, not tensors by their names")
    return state


def _differences(state: Mapping[str, object], needed: dict[str, Tensor]) -> dict[str, list[str]]:
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
