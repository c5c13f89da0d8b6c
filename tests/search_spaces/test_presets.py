"""The presets: each fits its dataset and takes every variant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from search_spaces.ablations import CONTROLS, VARIANTS
from search_spaces.presets import (
    ABLATIONS,
    SEGMENTATION,
    own,
    own_segmentation,
    paper,
    paper_segmentation,
    quick,
    quick_segmentation,
    voc,
)
from search_spaces.segmentation import CONFIGURATIONS, HEAT_MAP_TIMESTEPS, controls, probes
from trainables.config import Config, apply, flatten
from trainables.data import About, about
from trainables.network_cost import network_cost

PRESET = pytest.mark.parametrize("preset", ABLATIONS.values(), ids=ABLATIONS)


@PRESET
@pytest.mark.parametrize("delta", (VARIANTS | CONTROLS).values(), ids=VARIANTS | CONTROLS)
def test_takes_every_variant_and_control(preset: Callable[[], Config], delta: dict) -> None:
    assert flatten(apply(preset(), delta)) == flatten(preset()) | delta


@pytest.mark.parametrize("name", SEGMENTATION)
def test_takes_every_segmentation_configuration_control_and_probe(name: str) -> None:
    baseline = SEGMENTATION[name]()
    if baseline.pretrained is not None:
        baseline = apply(baseline, {"pretrained.weights": "0" * 64})
    deltas = CONFIGURATIONS[name] | controls(baseline) | probes(baseline, HEAT_MAP_TIMESTEPS)
    configs = [apply(baseline, delta) for delta in deltas.values()]
    assert len(set(configs)) == len(configs)  # each is another one


@pytest.mark.parametrize("preset", [quick, paper, quick_segmentation], ids=["quick", "paper", "quick segmentation"])
def test_asks_for_no_more_images_than_there_are(preset: Callable[[], Config]) -> None:
    config, facts = preset(), about(preset().data)
    assert config.segmentation.label_images + config.segmentation.validation_images <= facts.label_images
    # The floor of FID is drawn from the held-out images, as many as the model draws.
    assert config.sampling.samples <= facts.held_out_images


@PRESET
def test_looks_at_every_up_block(preset: Callable[[], Config]) -> None:
    assert preset().segmentation.blocks == preset().unet.up_blocks


def test_papers_network_has_1536_channels_of_features_at_its_timesteps() -> None:
    config = paper()
    about = About(1, ("a", "b"), 60_000, 1000, 9000, "fingerprint")
    assert network_cost(config, about).feature_channels * len(config.segmentation.timesteps) == 1536


@pytest.mark.parametrize(("one", "other"), [(voc(), paper_segmentation()), (own(), own_segmentation())])
def test_both_kinds_of_study_train_the_same_ddpm(one: Config, other: Config) -> None:
    assert (one.data, one.unet, one.diffusion, one.training) == (
        other.data,
        other.unet,
        other.diffusion,
        other.training,
    )
