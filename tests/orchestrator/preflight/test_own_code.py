"""Parts of one's own are tried before a study starts: what would end a trial, or keep its figures from repeating."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from orchestrator.errors import UsageError
from orchestrator.planning.plan import build
from orchestrator.planning.settings import Request
from orchestrator.preflight.own_code import check_own_code
from orchestrator.run import main
from search_spaces.spaces import ABLATIONS

HEAD = """
import random
import numpy
import torch
from torch import nn
"""
BLOCK = """
class Block(nn.Module):
    def __init__(self, in_channels, out_channels, emb_channels, unet, slope=0.1):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(emb_channels, out_channels)
        self.slope = slope

    def forward(self, x, emb):
        h = self.convolution(x) + self.time(emb)[:, :, None, None]
        return nn.functional.leaky_relu(h, self.slope)
"""
NETWORK = """
class Net(nn.Module):
    def __init__(self, image_channels):
        super().__init__()
        self.first, self.last = nn.Conv2d(image_channels, 4, 1), nn.Conv2d(4, image_channels, 1)
        self.up, self.flat = nn.Upsample(scale_factor=2), nn.Flatten()

    def forward(self, x_t, t):
        h = self.first(x_t) * (1 + t[:, None, None, None] / 1000)
        self.up(h), self.flat(h)
        return self.last(h)
"""
SMALL = {
    "data.image_size": 8,
    "unet.base_channels": 8,
    "unet.channel_mults": (1,),
    "unet.blocks_per_level": 1,
    "unet.attention_resolutions": (),
    "segmentation.blocks": (3,),
}
OWN_BLOCK = {"unet.block": "own.py:Block"}
OWN_NETWORK = {"network": "own.py:Net", "segmentation.blocks": ("first",)}


@pytest.fixture
def here(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLATION_CACHE", str(own_folder / "cache"))
    return own_folder


def tried(folder: Path, code: str, **settings: object) -> list[str]:
    """The notes on a study whose baseline has the part."""
    (folder / "own.py").write_text(HEAD + code)
    request = Request(ABLATIONS, settings=SMALL | settings, chosen=["baseline"])
    return list(check_own_code(build(request)).notes)


def refused(folder: Path, code: str, **settings: object) -> str:
    with pytest.raises(UsageError) as caught:
        tried(folder, code, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("code", "part"), [(BLOCK, OWN_BLOCK), (NETWORK, OWN_NETWORK)], ids=["block", "network"])
def test_a_part_that_works_passes_without_a_word(here: Path, code: str, part: dict[str, object]) -> None:
    assert tried(here, code, **part) == []


def test_trying_a_part_leaves_the_global_generators_alone(here: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    tried(here, NETWORK, **OWN_NETWORK)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_does_not_use_the_timestep_is_noted(here: Path) -> None:
    (note,) = tried(here, NETWORK.replace(" * (1 + t[:, None, None, None] / 1000)", ""), **OWN_NETWORK)
    assert note == "baseline: network=own.py:Net puts out the same at every timestep: does it use t?"


BLOCKS = [
    ("self.slope = slope", "raise ValueError('no such slope')",
     "cannot be made or run: ValueError: no such slope (own.py, line"),
    ("self.time(emb)", "self.time(x)", "cannot be made or run: RuntimeError: "),
    ("return nn", "return None and nn", "must put out (1, 8, 8, 8), not NoneType"),
    ("h, self.slope", "h[:, :3], self.slope", "must put out (1, 8, 8, 8), not (1, 3, 8, 8)"),
    (
        "self.slope = slope",
        "self.slope = numpy.random.uniform()",
        "two trainings from one seed differ: draw at random from torch's global generator alone",
    ),
    ("(h, self.slope)", "(h, self.slope * random.random())",
     "two forwards in eval mode differ: figures would not repeat"),
    ("(h, self.slope)", "(h, self.slope).double()", "cannot be made or run: RuntimeError: "),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "says"), BLOCKS, ids=[after[:40] for _, after, _ in BLOCKS])
def test_a_block_that_cannot_be_used_is_told_in_one_line(here: Path, before: str, after: str, says: str) -> None:
    told = refused(here, BLOCK.replace(before, after), **OWN_BLOCK)
    assert "own.py:Block: " in told and says in told


NETWORKS = [
    ("return self.last(h)", "return h",
     "must put out a prediction of shape (2, 1, 8, 8), not (2, 4, 8, 8)"),
    ("return self.last(h)", "return self.last(h).double()", "must put out torch.float32, not torch.float64"),
    ("return self.last(h)", "return self.last(h) / 0", "puts out what is not finite"),
    ("return self.last(h)", "return self.last(h) + torch.rand(1)", "two forwards in eval mode differ"),
    ("return self.last(h)", "return self.last(h) + random.random()", "two forwards in eval mode differ"),
    (
        "return self.last(h)",
        "return self.last(h) + self.training * random.random()",
        "two trainings from one seed differ: draw at random from torch's global generator alone",
    ),
    ("return self.last(h)", "raise OSError('no weights')", "cannot be made or run: OSError: no weights (own.py, line"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "says"), NETWORKS, ids=[after for _, after, _ in NETWORKS])
def test_a_network_that_cannot_be_used_is_told_in_one_line(here: Path, before: str, after: str, says: str) -> None:
    told = refused(here, NETWORK.replace(before, after), **OWN_NETWORK)
    assert told.startswith("network=own.py:Net: ") or told.startswith("variant baseline: network=own.py:Net: ")
    assert says in told


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        (("frist",), "segmentation.blocks: the network has no module frist; at its top are first, last, up, flat"),
        (("up",), "segmentation.blocks: up puts out maps of 16 pixels, above the image's"),
        (("flat",), "segmentation.blocks: the module flat puts out (1, 256), not square maps (B, C, h, h)"),
    ],
    ids=str,
)
def test_features_that_are_not_there_are_told_beforehand(here: Path, blocks: tuple[str, ...], says: str) -> None:
    assert says in refused(here, NETWORK, **(OWN_NETWORK | {"segmentation.blocks": blocks}))


def test_randomness_from_torchs_global_generator_repeats(here: Path) -> None:
    code = NETWORK.replace("return self.last(h)", "return self.last(nn.functional.dropout(h, 0.5, self.training))")
    assert tried(here, code, **OWN_NETWORK) == []


WORDS = ["--variants", "baseline", "--dry-run"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (None, r"^error: unet\.block: own\.py:Block: there is no file own\.py in .*$"),
        ("def f(:", r"^error: unet\.block: own\.py:Block: own\.py is no Python \(invalid syntax, line 1\)$"),
        ("import no_module", r"^error: .*own\.py: cannot be imported: ModuleNotFoundError: .* \(own\.py, line 1\)$"),
        ("x = 1", r"^error: .*own\.py:Block: there is no Block in it; it has nothing that can be called$"),
        (HEAD + BLOCK.replace("self.time(emb)", "self.time(x)"), r"^error: .*own\.py:Block: cannot be made or run: "),
        (
            HEAD + BLOCK.replace("(h, self.slope)", "(h, random.random())"),
            r"^error: .*two forwards in eval mode differ",
        ),
    ],
    ids=["no file", "no Python", "import", "no name", "forward", "random"],
)
def test_the_command_ends_with_one_line_and_code_2(
    here: Path, code: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if code is not None:
        (here / "own.py").write_text(code)
    words = ["ablations", *WORDS]
    for name, value in (SMALL | OWN_BLOCK).items():
        words += ["--set", f"{name}={list(value) if isinstance(value, tuple) else value}"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(says, line), line


def test_a_variant_is_named_and_one_that_works_is_planned(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "own.py").write_text(HEAD + BLOCK)
    words = ["ablations", "--variants", "baseline", "leaky", "--dry-run"]
    for name, value in SMALL.items():
        words += ["--set", f"{name}={list(value) if isinstance(value, tuple) else value}"]
    line = "leaky: unet.block=own.py:Block, unet.block_args.slope=0.2"
    assert main([*words, "--variant", line]) == 0
    assert "own.py:Block" in capsys.readouterr().out
    (here / "own.py").write_text(HEAD + BLOCK.replace("slope=0.1", "width=0.1").replace("= slope", "= width"))
    assert main([*words, "--variant", line]) == 2
    assert re.search(r"^error: variant leaky: .*'slope'", capsys.readouterr().err)


def test_variants_whose_parts_import_two_modules_of_one_name_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ablations", *WORDS]
    for name, value in SMALL.items():
        words += ["--set", f"{name}={list(value) if isinstance(value, tuple) else value}"]
    for folder in ("one", "two"):
        (here / folder).mkdir()
        (here / folder / "own.py").write_text(HEAD + "from beside import FACTOR\n" + BLOCK)
        (here / folder / "beside.py").write_text("FACTOR = 1")
        words += ["--variant", f"{folder}: unet.block={folder}/own.py:Block"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"^error: variant one: there is a module beside in .*: give one another name$", line), line
