"""guided-diffusion's checkpoints: the good ones load as they are, and all others are refused in words."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from trainables.data import DataError
from trainables.sections import Pretrained
from trainables.unet.guided_checkpoint import MARK, check_checkpoint, load_checkpoint, untold
from trainables.unet.guided_diffusion import GuidedUNet

CPU = torch.device("cpu")
SMALL = Pretrained(
    num_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(8,), num_head_channels=16
)
SHAPE = {"image_channels": 3, "image_size": 16}  # that SMALL is used for


def _small() -> GuidedUNet:
    """No weight at the value that it starts with: one that is not loaded would show."""
    model = GuidedUNet(SMALL, **SHAPE).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def _inputs() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 700])


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _load(path: Path, settings: Pretrained = SMALL) -> GuidedUNet:
    return load_checkpoint(path, settings.model_copy(update={"weights": _sha(path)}), **SHAPE, device=CPU)


def _refused(path: Path, settings: Pretrained = SMALL) -> list[str]:
    """The lines of the error that both the check and the loading raise."""
    with pytest.raises(DataError) as checked:
        check_checkpoint(path, settings, **SHAPE)
    with pytest.raises(DataError) as loaded:
        _load(path, settings)
    assert str(checked.value) == str(loaded.value)
    lines = str(checked.value).splitlines()
    assert lines[0].startswith(f"{path} ")
    return lines


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.pt"
    torch.save(_small().state_dict(), path)
    return path


@pytest.mark.parametrize("newer", [True, False], ids=["zip", "older format"])
def test_a_good_file_is_loaded_for_inference(tmp_path: Path, newer: bool) -> None:
    path, model = tmp_path / "good.pt", _small()
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=newer)
    assert check_checkpoint(path, SMALL, **SHAPE) == (_sha(path), "")
    loaded = _load(path)
    assert_close(loaded(*_inputs()), model(*_inputs()), rtol=1e-4, atol=1e-4)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert all(torch.equal(p, q) for p, q in zip(loaded.parameters(), model.parameters(), strict=True))


def test_what_happens_to_the_file_later_does_not_matter(good: Path) -> None:
    loaded, model = _load(good), _small()
    with good.open("r+b") as file:  # in place: where a mapping would see it
        file.write(bytes(good.stat().st_size))
    assert all(torch.equal(p, q) for p, q in zip(loaded.parameters(), model.parameters(), strict=True))


def test_another_file_than_the_one_named_is_refused(good: Path) -> None:
    named = SMALL.model_copy(update={"weights": "0" * 64})
    with pytest.raises(DataError, match=f"^{re.escape(str(good))} .*{_sha(good)}.*{'0' * 64}"):
        load_checkpoint(good, named, **SHAPE, device=CPU)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    named = SMALL.model_copy(update={"weights": "0" * 64})
    for path in (tmp_path / "nowhere.pt", tmp_path):
        with pytest.raises(DataError, match=f"^{re.escape(str(path))} cannot be read: "):
            check_checkpoint(path, SMALL, **SHAPE)
        with pytest.raises(DataError, match=f"^{re.escape(str(path))} cannot be read: "):
            load_checkpoint(path, named, **SHAPE, device=CPU)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.999])
@pytest.mark.parametrize("newer", [True, False], ids=["zip", "older format"])
def test_a_truncated_file_is_refused(tmp_path: Path, newer: bool, kept: float) -> None:
    path = tmp_path / "short.pt"
    torch.save(_small().state_dict(), path, _use_new_zipfile_serialization=newer)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    [line] = _refused(path)
    assert "is no checkpoint of plain tensors: " in line


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("weights", "torch.save writes no such file"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "it is a pointer of Git LFS"),
        ("\n<!DOCTYPE HTML><html>not found</html>", "it is a web page that was saved in place of the file"),
        ("<html>not found</html>", "it is a web page that was saved in place of the file"),
        ("", "it is empty"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_plain_words(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "page.pt"
    path.write_text(content)
    [line] = _refused(path)
    assert f"is no checkpoint of plain tensors: {told}" in line


class Code:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.marker), "w")


CODE: dict[str, Callable[[object, Path], object]] = {
    "pickle": lambda code, path: path.write_bytes(pickle.dumps(code, protocol=2)),
    "zip": lambda code, path: torch.save({**_small().state_dict(), "code": code}, path),
    "older format": lambda code, path: torch.save({"code": code}, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("write", CODE.values(), ids=CODE)
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, write: Callable[[object, Path], object]) -> None:
    path, marker = tmp_path / "code.pt", tmp_path / "ran"
    write(Code(marker), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's own on such files would only confuse
        [line] = _refused(path)
    assert "is no checkpoint of plain tensors: UnpicklingError" in line
    assert "weights_only" not in line and "add_safe_globals" not in line
    assert not marker.exists()
    try:  # and the file is what it is said to be
        torch.load(path, weights_only=False)
    except RuntimeError:
        pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), {1: torch.zeros(1)}], ids=["list", "one", "int"])
def test_tensors_without_names_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "unnamed.pt"
    torch.save(content, path)
    [line] = _refused(path)
    assert line.endswith(f"it holds a {type(content).__name__}, not tensors by their names")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float, good: Path) -> None:
    state = torch.load(good, weights_only=True)
    state["out.2.bias"][0] = bad
    torch.save(state, good)
    (line,) = _refused(good)
    assert "out.2.bias has values that are not finite" in line


def test_missing_unexpected_and_misshapen_keys_are_all_named(good: Path) -> None:
    state = torch.load(good, weights_only=True)
    del state["out.0.bias"], state["middle_block.1.qkv.weight"]
    state |= {
        "label_emb.weight": torch.zeros(10, 128),
        "out.2.bias": torch.zeros(3),
        "out.0.weight": torch.zeros(32, dtype=torch.int32),
        "time_embed.0.bias": "none",
    }
    torch.save(state, good)
    counts, *lines = _refused(good)
    assert counts.endswith("; keys: 2 missing, 1 not expected, 3 of another shape or type")
    assert set(lines) == {
        "  out.0.bias: missing",
        "  middle_block.1.qkv.weight: missing",
        "  label_emb.weight: not expected",
        "  out.2.bias: torch.float32 (3,), expected torch.float32 (6,)",
        "  out.0.weight: torch.int32 (32,), expected torch.float32 (32,)",
        "  time_embed.0.bias: str, expected torch.float32 (128,)",
    }


def test_a_long_list_of_keys_says_how_many_it_leaves_out(good: Path) -> None:
    state = torch.load(good, weights_only=True)
    keys = len(state)
    torch.save({f"{key}.other": tensor for key, tensor in state.items()}, good)
    counts, *lines = _refused(good)
    assert f"keys: {keys} missing, {keys} not expected" in counts
    for difference in ("missing", "not expected"):
        assert sum(line.endswith(f": {difference}") for line in lines) == 20
        assert f"  and {keys - 20} more {difference}" in lines
    assert len(lines) == 42


OTHERS = {
    "wider": {"num_channels": 64},
    "deeper": {"num_res_blocks": 2},
    "another multiplier": {"channel_mult": (1, 1)},
    "attention elsewhere": {"attention_resolutions": (16,)},
    "samplers without blocks": {"resblock_updown": False},
    "timestep added": {"use_scale_shift_norm": False},
    "noise alone": {"learn_sigma": False},
}


@pytest.mark.parametrize("delta", OTHERS.values(), ids=OTHERS)
def test_every_setting_that_changes_a_shape_is_found_out(good: Path, delta: dict[str, object]) -> None:
    lines = _refused(good, SMALL.model_copy(update=delta))
    assert "is not of this architecture; keys: " in lines[0]
    assert len(lines) > 1


# Checkpoints with something around the network


def _prefixed(prefix: str, model: GuidedUNet) -> dict[str, Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in model.state_dict().items()}


WRAPPED: dict[str, tuple[Callable[[GuidedUNet], object], str]] = {
    "DataParallel": (lambda m: _prefixed("module.", m), "['module.*']"),
    "compiled": (lambda m: _prefixed("_orig_mod.", m), "['_orig_mod.*']"),
    "average": (lambda m: {"ema": m.state_dict(), "step": 7}, "['ema']"),
    "weights": (lambda m: {"state_dict": m.state_dict(), "optimizer": {"lr": 0.1, "state": {}}}, "['state_dict']"),
    "both": (lambda m: {"model": _prefixed("module.", m), "args": argparse.Namespace(lr=1)}, "['model']['module.*']"),
    "deep": (lambda m: {"states": {"ema": m.state_dict()}}, "['states']['ema']"),
    "beside": (lambda m: {**_prefixed("model.", m), "betas": torch.zeros(1000)}, "['model.*']"),
    "another network": (lambda m: {"ema": m.state_dict(), "D": {MARK: torch.zeros(3)}}, "['ema']"),
}


@pytest.mark.parametrize(("wrap", "place"), WRAPPED.values(), ids=WRAPPED)
def test_one_network_that_fits_is_found_in_a_file(
    wrap: Callable[[GuidedUNet], object], place: str, tmp_path: Path
) -> None:
    path, model = tmp_path / "wrapped.pt", _small()
    torch.save(wrap(model), path)
    assert check_checkpoint(path, SMALL, **SHAPE) == (_sha(path), place)
    loaded = _load(path)
    assert all(torch.equal(p, q) for p, q in zip(loaded.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("flat", [False, True])
def test_of_two_networks_the_command_that_unpacks_each_is_told(flat: bool, tmp_path: Path) -> None:
    path, model = tmp_path / "two.pt", _small()
    ema = {key: tensor + 1 for key, tensor in model.state_dict().items()}
    nested = {"model": model.state_dict(), "ema": ema}
    torch.save({f"{name}.{k}": v for name, s in nested.items() for k, v in s.items()} if flat else nested, path)
    head, *lines = _refused(path)
    assert head.endswith("holds 2 networks that fit; write the one that is meant to a file")
    assert [line.split(":")[0] for line in lines] == [f"  for ['{n}{'.*' if flat else ''}']" for n in nested]
    command = lines[1].partition(": ")[2]
    assert command.startswith('python -c "')
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True)
    unpacked = torch.load(tmp_path / "two-ema.pt", weights_only=True)
    assert unpacked.keys() == ema.keys()
    assert all(torch.equal(unpacked[key], ema[key]) for key in ema)


def test_the_keys_of_a_wrapped_network_that_does_not_fit_are_told_without_what_is_around(tmp_path: Path) -> None:
    path, state = tmp_path / "wrapped.pt", _small().state_dict()
    del state["out.0.bias"]
    torch.save({"ema": {f"module.{key}": tensor for key, tensor in state.items()}}, path)
    counts, line = _refused(path)
    assert counts.endswith("keys in ['ema']['module.*']: 1 missing, 0 not expected, 0 of another shape or type")
    assert line == "  out.0.bias: missing"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "num_head_channels=16, use_new_attention_order=False"),
        (
            {"num_head_channels": -1, "num_heads": 4, "use_new_attention_order": True},
            "num_head_channels=-1, num_heads=4, use_new_attention_order=True",
        ),
    ],
)
def test_what_a_checkpoint_does_not_tell_is_named(changes: dict[str, object], words: str) -> None:
    assert untold(SMALL.model_copy(update=changes)) == words
