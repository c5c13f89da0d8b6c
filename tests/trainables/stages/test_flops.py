"""What a trial costs: the stages that it lists and the figures that can be worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.ablations import CONTROLS, VARIANTS
from search_spaces.presets import bedroom, quick
from trainables.config import Overrides, apply
from trainables.data import About, about
from trainables.evaluation import dinov2
from trainables.evaluation.vision_transformer import VisionTransformer
from trainables.network_cost import network_cost
from trainables.stages import stage_flops, stage_keys
from trainables.stages.reference import DINOV2_FLOPS, INCEPTION_FLOPS

CONFIG = apply(
    quick(),
    {
        "data.image_size": 16,
        "training.train_steps": 1200,
        "training.batch_size": 64,
        "sampling.samples": 500,
        "sampling.sampling_steps": 25,
        "sampling.sampling_repeats": 3,
        "segmentation.ensemble_size": 10,
        "segmentation.hidden_channels": (128, 32),
        "segmentation.label_images": 40,
        "segmentation.validation_images": 10,
        "segmentation.held_out_images": 300,
        "segmentation.epochs": 4,
    },
)
ABOUT = about(CONFIG.data)
BEDROOM = About(3, tuple(map(str, range(29))), 0, 40, 20, "fingerprint")


def _flops(overrides: Overrides) -> dict[str, float]:
    return stage_flops(apply(CONFIG, overrides), ABOUT)


@pytest.mark.parametrize("stages", [("fid", "segmentation"), ("fid",), ("segmentation",)])
@pytest.mark.parametrize("overrides", (VARIANTS | CONTROLS).values(), ids=VARIANTS | CONTROLS)
def test_stages_are_those_that_the_trial_runs(overrides: Overrides, stages: tuple[str, ...]) -> None:
    config = apply(CONFIG, {"stages": stages, **overrides})
    assert list(stage_flops(config, ABOUT)) == list(stage_keys(config, ABOUT))


def test_training_and_sampling_by_hand() -> None:
    forward = network_cost(CONFIG, ABOUT).forward_flops
    flops = _flops({})
    assert flops["ddpm"] == 3 * forward * 64 * 1200
    assert flops["samples"] == forward * 3 * 500 * 25


def test_self_conditioning_costs_a_forward_more_at_half_of_the_steps() -> None:
    changed = {"training.self_conditioning": True}
    forward = network_cost(apply(CONFIG, changed), ABOUT).forward_flops
    flops = _flops(changed)
    assert flops["ddpm"] == 3.5 * forward * 64 * 1200
    assert flops["samples"] == forward * 3 * 500 * 25


@pytest.mark.parametrize(
    ("overrides", "stage"),
    [
        ({"training.train_steps": 0}, "ddpm"),
        ({"sampling.source": "held_out"}, "samples"),
    ],
)
def test_what_is_not_computed_costs_nothing(overrides: Overrides, stage: str) -> None:
    assert _flops(overrides)[stage] == 0


@pytest.mark.parametrize(
    ("setting", "value", "stage"),
    [
        ("training.train_steps", 2400, "ddpm"),
        ("training.batch_size", 128, "ddpm"),
        ("sampling.samples", 1000, "samples"),
        ("sampling.sampling_steps", 50, "samples"),
        ("sampling.sampling_repeats", 6, "samples"),
        ("segmentation.ensemble_size", 20, "segmentation"),
    ],
)
def test_twice_the_setting_is_twice_the_cost_of_its_stage_alone(setting: str, value: int, stage: str) -> None:
    # On raw pixels the classifier is the whole of the segmentation.
    once = {"segmentation.features": "pixels"}
    before, after = _flops(once), _flops({**once, setting: value})
    assert after == before | {stage: 2 * before[stage]}


def test_segmentation_on_raw_pixels_by_hand() -> None:
    pixel = 2 * 10 * (1 * 128 + 128 * 32 + 32 * 11)
    flops = _flops({"segmentation.features": "pixels", "stages": ("segmentation",)})
    assert flops == {"segmentation": pixel * 256 * (4 * (3 * 40 + 10) + 300)}


def test_segmentation_on_features_by_hand() -> None:
    cost = network_cost(CONFIG, ABOUT)
    pixel = 2 * 10 * (3 * 64 * 128 + 128 * 32 + 32 * 11)  # 32 + 16 + 16 channels at three timesteps
    maps = cost.features_flops * 3 * (40 + 10 + 300)
    assert _flops({"stages": ("segmentation",)})["segmentation"] == maps + pixel * 256 * (4 * (3 * 40 + 10) + 300)


def test_a_pretrained_network_is_not_trained_and_costs_what_its_blocks_need() -> None:
    few, more = (stage_flops(apply(bedroom(), {"segmentation.blocks": blocks}), BEDROOM) for blocks in ((5,), (5, 12)))
    assert list(few) == ["segmentation"]
    assert few["segmentation"] < more["segmentation"]


def test_inceptions_cost_is_that_of_torchvisions() -> None:
    with torch.device("meta"):
        network = torchvision.models.inception_v3(init_weights=False, aux_logits=False).eval()
        images = torch.empty(1, 3, 299, 299)
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert pytest.approx(counter.get_total_flops(), rel=0.01) == INCEPTION_FLOPS


def test_dinov2s_cost_is_counted() -> None:
    with torch.device("meta"):
        network = VisionTransformer(dinov2.CHANNELS, dinov2.DEPTH, dinov2.HEADS, dinov2.PATCH, dinov2.POSITIONS)
        images = torch.empty(1, 3, dinov2.SIDE, dinov2.SIDE)
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert pytest.approx(counter.get_total_flops(), rel=0.01) == DINOV2_FLOPS
    cost = {
        m: _flops({"fid.metrics": (m,)})["reference"] for m in ("fid", "prdc_inception", "fd_dinov2", "prdc_digits")
    }
    assert cost["fid"] == cost["prdc_inception"] == 1097 * INCEPTION_FLOPS
    assert cost["fd_dinov2"] == 1097 * DINOV2_FLOPS and cost["prdc_digits"] == 0
