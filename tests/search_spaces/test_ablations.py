"""Each variant changes in the network and the noise what it claims, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from search_spaces.ablations import CONTROLS, VARIANTS
from search_spaces.presets import paper, quick
from trainables.config import Config, Overrides, apply, flatten
from trainables.data import about
from trainables.diffusion.schedules import betas
from trainables.stages import stage_keys, trial_key
from trainables.unet.blocks import AdaGN, Attention, ConvNeXtBlock, GroupNorm, ResNetBlock
from trainables.unet.unet import UNet

BASES = {"defaults": Config(), "quick": quick(), "paper": paper()}
BASE = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
CHANGES = {name: delta for name, delta in VARIANTS.items() if name != "baseline"}


@dataclass
class Anatomy:
    """What of a model and its process can be seen from outside."""

    modules: dict[str, type]
    shapes: dict[str, tuple[int, ...]]
    betas: Tensor

    def differs(self, other: Anatomy) -> bool:
        same = (self.modules, self.shapes) == (other.modules, other.shapes)
        return not (same and torch.equal(self.betas, other.betas))


def _anatomy(base: Config, delta: Overrides) -> Anatomy:
    config = apply(base, delta)
    with torch.device("meta"):
        model = UNet(config.unet, 1, config.data.image_size)
    return Anatomy(
        {name: type(module) for name, module in model.named_modules()},
        {name: tuple(p.shape) for name, p in model.named_parameters()},
        torch.from_numpy(betas(config.diffusion)),
    )


def _pair(base: Config, variant: str) -> tuple[Anatomy, Anatomy]:
    return _anatomy(base, VARIANTS["baseline"]), _anatomy(base, VARIANTS[variant])


def _of_kind(anatomy: Anatomy, kind: type) -> set[str]:
    return {name for name, found in anatomy.modules.items() if found is kind}


def _outside(names: dict, inside: set[str]) -> dict:
    """Those of `names` that are not at or under one of the modules `inside`."""
    return {n: v for n, v in names.items() if not any(n == i or n.startswith(f"{i}.") for i in inside)}


def test_baseline_is_the_config_as_it_stands() -> None:
    assert VARIANTS["baseline"] == {}


@BASE
@pytest.mark.parametrize("variant", CHANGES)
def test_variant_changes_the_model_or_the_noise(base: Config, variant: str) -> None:
    before, after = _pair(base, variant)
    assert after.differs(before)


@pytest.mark.parametrize("delta", [{}, {"unet.norm": "group"}, {"unet.convnext_expansion": 4}], ids=str)
def test_delta_that_changes_nothing_is_seen_as_such(delta: Overrides) -> None:
    # The test above must fail for these: the last is a new setting that a network of ResNet blocks does not read.
    assert not _anatomy(Config(), delta).differs(_anatomy(Config(), {}))


@BASE
def test_adagn_replaces_the_timed_norms_alone(base: Config) -> None:
    before, after = _pair(base, "adagn")
    timed = _of_kind(before, GroupNorm)
    assert timed
    assert _of_kind(after, AdaGN) == timed
    assert _outside(after.modules, timed) == _outside(before.modules, timed)
    changed = {name for name in before.shapes | after.shapes if before.shapes.get(name) != after.shapes.get(name)}
    assert changed == {f"{name}.emb.{part}" for name in timed for part in ("weight", "bias")}
    assert all(after.shapes[name][0] == 2 * before.shapes[name][0] for name in changed)
    assert all(after.shapes[name][1:] == before.shapes[name][1:] for name in changed)
    assert torch.equal(after.betas, before.betas)


@BASE
def test_convnext_replaces_the_blocks_alone(base: Config) -> None:
    before, after = _pair(base, "convnext")
    blocks = _of_kind(before, ResNetBlock)
    assert blocks
    assert _of_kind(after, ConvNeXtBlock) == blocks
    assert _outside(after.modules, blocks) == _outside(before.modules, blocks)
    assert _outside(after.shapes, blocks) == _outside(before.shapes, blocks)
    assert {len(_of_kind(a, GroupNorm)) for a in (before, after)} == {len(blocks)}
    assert torch.equal(after.betas, before.betas)


@BASE
def test_cosine_changes_the_betas_alone(base: Config) -> None:
    before, after = _pair(base, "cosine")
    assert (after.modules, after.shapes) == (before.modules, before.shapes)
    assert after.betas.shape == before.betas.shape
    assert not torch.allclose(after.betas, before.betas)


@BASE
def test_no_attention_takes_out_all_attention_and_nothing_else(base: Config) -> None:
    before, after = _pair(base, "no_attention")
    attention = _of_kind(before, Attention)
    assert len(attention) == 2 * len(base.unet.attention_resolutions) + (
        base.data.image_size // 2 ** (base.unet.levels - 1) in base.unet.attention_resolutions
    )
    assert not _of_kind(after, Attention)
    assert _outside(after.modules, attention) == _outside(before.modules, attention)
    assert after.shapes == _outside(before.shapes, attention) != before.shapes
    assert torch.equal(after.betas, before.betas)


@BASE
def test_variants_change_nothing_but_the_network_and_the_noise(base: Config) -> None:
    # Not one of them may train longer, sample more or label more than another.
    for delta in CHANGES.values():
        before, after = flatten(base), flatten(apply(base, delta))
        changed = {name for name in before if before[name] != after[name]}
        assert len(changed) == 1
        assert {name.split(".")[0] for name in changed} <= {"unet", "diffusion"}


@BASE
def test_every_variant_and_control_is_a_trial_of_its_own(base: Config) -> None:
    facts = about(base.data)
    keys = [trial_key(stage_keys(apply(base, delta), facts)) for delta in (VARIANTS | CONTROLS).values()]
    assert len(set(keys)) == len(VARIANTS) + len(CONTROLS)


@BASE
@pytest.mark.parametrize(
    ("control", "stages"),
    [
        ("untrained", ["ddpm", "samples", "reference", "fid", "segmentation"]),
        ("real_images", ["samples", "reference", "fid"]),
        ("raw_pixels", ["segmentation"]),
    ],
)
def test_controls_run_the_stages_that_they_are_for(base: Config, control: str, stages: list[str]) -> None:
    config = apply(base, CONTROLS[control])
    assert list(stage_keys(config, about(base.data))) == stages
    assert control != "untrained" or config.training.train_steps == 0
