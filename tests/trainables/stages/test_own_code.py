"""Which stages an edit of a part of one's own makes again: the code is in their keys, the settings are as they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from search_spaces.ablations import CONTROLS
from search_spaces.presets import quick
from trainables.config import Overrides, apply
from trainables.data import About
from trainables.stages import code_of, settings_keys, stage_keys, stage_source

ABOUT = About(1, ("a", "b"), 1097, 200, 500, "fingerprint")
MODEL = {"ddpm", "samples", "fid", "segmentation"}
BLOCK = """
from torch import nn
from shared import slope

class Leaky(nn.Module):
    def __init__(self, in_channels, out_channels, emb_channels, unet):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x, emb):
        return nn.functional.leaky_relu(self.convolution(x), slope())
"""
PARTS = {
    "block": {"unet.block": "leaky.py:Leaky"},
    "norm": {"unet.norm": "leaky.py:Leaky"},
    "module": {"unet.block": "leaky:Leaky"},
    "network": {"network": "leaky.py:Leaky", "segmentation.blocks": ("convolution",)},
}


@pytest.fixture
def own(own_folder: Path) -> Path:
    (own_folder / "leaky.py").write_text(BLOCK)
    (own_folder / "other.py").write_text(BLOCK)
    (own_folder / "shared.py").write_text("def slope():\n    return 0.1")
    return own_folder


def keys(changes: Overrides) -> Mapping[str, str]:
    return stage_keys(apply(quick(), changes), ABOUT)


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    assert one.keys() == other.keys()
    return {stage for stage in one if one[stage] != other[stage]}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize(
    ("file", "before", "after", "expected"),
    [
        ("leaky.py", "leaky_relu", "elu", MODEL),
        ("shared.py", "0.1", "0.2", MODEL),
        ("leaky.py", "from torch", "# a comment\nfrom torch", set()),
        ("leaky.py", "class Leaky", "class Unrelated: ...\n\nclass Leaky", set()),
        ("other.py", "leaky_relu", "elu", set()),
    ],
    ids=["the part", "what it imports", "a comment", "another class", "another file"],
)
def test_an_edit_of_a_part_remakes_all_that_follows_from_the_model(
    own: Path, kind: str, file: str, before: str, after: str, expected: set[str]
) -> None:
    config, old = apply(quick(), PARTS[kind]), keys(PARTS[kind])
    settings = settings_keys(config, ABOUT)
    (own / file).write_text((own / file).read_text().replace(before, after))
    new = keys(PARTS[kind])
    assert differing(old, new) == expected
    assert {stage for stage in old if code_of(old[stage]) != code_of(new[stage])} == expected
    assert settings_keys(config, ABOUT) == settings
    assert {stage: key.partition("-")[0] for stage, key in new.items()} == settings


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("kind", PARTS)
def test_what_the_console_names_is_the_part_and_what_it_imports(kind: str) -> None:
    (reference,) = (value for value in PARTS[kind].values() if isinstance(value, str))
    for stage in ("ddpm", "segmentation", "samples"):
        found = stage_source(apply(quick(), PARTS[kind]), ABOUT, stage)
        assert {reference.replace("leaky:", "leaky."), "shared.slope"} <= set(found)
    assert not {"shared.slope"} & set(stage_source(apply(quick(), PARTS[kind]), ABOUT, "reference"))


def test_an_edit_of_one_variants_part_leaves_the_others_keys(own: Path) -> None:
    one, other = PARTS["block"], {"unet.block": "other.py:Leaky"}
    assert differing(keys(one), keys(other)) == MODEL
    before = [keys(variant) for variant in (one, other, {})]
    (own / "other.py").write_text(BLOCK.replace("leaky_relu", "elu"))
    after = [keys(variant) for variant in (one, other, {})]
    assert [differing(b, a) for b, a in zip(before, after, strict=True)] == [set(), MODEL, set()]


@pytest.mark.parametrize("control", ["real_images", "raw_pixels"])
def test_controls_without_a_network_are_not_remade_for_a_part(own: Path, control: str) -> None:
    changes = {**PARTS["block"], **CONTROLS[control]}
    old = keys(changes)
    assert old == keys(CONTROLS[control])
    (own / "leaky.py").write_text(BLOCK.replace("leaky_relu", "elu"))
    assert keys(changes) == old


@pytest.mark.usefixtures("own")
def test_names_of_modules_are_in_the_key_of_what_reads_them_alone() -> None:
    other = PARTS["network"] | {"segmentation.blocks": ("conv*",)}
    assert differing(keys(PARTS["network"]), keys(other)) == {"segmentation"}
