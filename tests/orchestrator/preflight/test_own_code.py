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


FUNCTIONS = [
    ("training.loss", "(o, t): return (o - t).flatten(1).mean(1) * float('nan')",
     "Diverged: at step 1: the loss is nan"),
    ("training.loss", "(o, t): return (o - t).flatten(1).mean(1) + float('inf')",
     "Diverged: at step 1: the loss is inf"),
    ("training.loss", "(o, t): return torch.sqrt(((o - o) ** 2).flatten(1).mean(1))",  # whose gradient is none
     "Diverged: at step 2: the loss is nan"),
    ("diffusion.beta_schedule", "(T): return [float('nan')] * T",
     "must give 1000 betas above 0 and below 1, but gives nan to nan"),
    ("sampling.sampler", "(x_t, x_0, *others): return x_0 * float('nan')", "gives images that are not finite"),
    ("sampling.sampler", "(*anything): return None", "must give images (2, 1, 8, 8) of torch.float32, not NoneType"),
    ("fid.metrics[0]", "(a, b): return float('nan')", "gives nan of 16 random images: must give a finite number"),
    ("fid.metrics[0]", "(a, b): return float('inf')", "gives inf of 16 random images: must give a finite number"),
    ("fid.metrics[0]", "(a, b): return None", "must give a number, but gives NoneType"),
    ("fid.metrics[0]", "(a, b): return random.random()",
     r"gives 0\.\d+, then 0\.\d+ of the same images: figures would not repeat"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "code", "says"), FUNCTIONS, ids=[f"{s} {c}" for s, c, _ in FUNCTIONS])
def test_a_function_that_cannot_be_used_is_told_once(here: Path, setting: str, code: str, says: str) -> None:
    name, place, _ = setting.partition("[0]")
    told = refused(here, f"def f{code}", **{name: ("own.py:f",) if place else "own.py:f"})
    says = says if "\\" in says else re.escape(says)
    assert re.search(rf"^({re.escape(setting)}=|variant baseline: )own\.py:f: {says}$", told), told


def test_of_two_parts_the_one_that_fails_is_named(here: Path) -> None:
    code = BLOCK + "def f(a, b): return 0 * float('nan')"
    assert refused(here, code, **OWN_BLOCK, **{"fid.metrics": ("own.py:f",)}).startswith("fid.metrics[0]=own.py:f: ")


@pytest.mark.parametrize(
    ("before", "after", "weights"),
    [
        ("(h, self.slope)", "(h, self.slope).detach()", "embed.0.weight, embed.0.bias, embed.2.weight and 15 more"),
        ("self.convolution(x)", "self.convolution(x.detach())", "stem.weight, stem.bias"),
        ("self.slope = slope", "self.slope, self.idle = slope, nn.Linear(1, 1)", ".idle.weight, "),
    ],
    ids=["detached", "cut off", "not used"],
)
def test_weights_without_a_gradient_are_noted(here: Path, before: str, after: str, weights: str) -> None:
    (note,) = tried(here, BLOCK.replace(before, after), **OWN_BLOCK)
    assert note.startswith("baseline: unet.block=own.py:Block: no gradient in two steps of training for ")
    assert weights in note and note.endswith(": detached, or not used?")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("h = self.convolution(x)", "h = 0 * self.convolution(x)"),  # a gradient of zero, as of a branch that begins so
        ("self.slope = slope", "self.slope, self.idle = slope, nn.Linear(1, 1).requires_grad_(False)"),
        # At random in one of two steps.
        ("self.slope)", "self.slope) if not self.training or torch.rand(()) < 0.5 else self.convolution(x)"),
    ],
    ids=["zero", "frozen", "left out at random"],
)
def test_weights_that_are_meant_so_are_not_noted(here: Path, before: str, after: str) -> None:
    assert tried(here, BLOCK.replace(before, after), **OWN_BLOCK) == []


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


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("own.py:Nett", "network: own.py:Nett: there is no Nett in it; did you mean Net?"),
        ("onw.py:Net", "network: onw.py:Net: there is no file onw.py in {here}; did you mean own.py?"),
        (
            "own.py:Net",
            "segmentation.blocks must be names of modules of own.py:Net, such as [up_blocks.*], but got [3]",
        ),
    ],
)
def test_a_network_that_is_not_there_is_told_before_what_it_needs(here: Path, network: str, says: str) -> None:
    says = says.format(here=here)
    assert refused(here, NETWORK, network=network) == says
    request = Request(ABLATIONS, settings=SMALL, chosen=["baseline"], new=[("mine", {"network": network})])
    with pytest.raises(UsageError) as caught:
        build(request)
    assert str(caught.value) == f"variant mine: {says}"


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
