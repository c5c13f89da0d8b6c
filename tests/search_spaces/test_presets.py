"""The presets: each fits its dataset and takes every variant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from search_spaces.ablations import CONTROLS, VARIANTS
from search_spaces.presets import PRESETS
from trainables.config import Config, apply
from trainables.data import about

PRESET = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


@PRESET
@pytest.mark.parametrize("delta", (VARIANTS | CONTROLS).values(), ids=VARIANTS | CONTROLS)
def test_takes_every_variant_and_control(preset: Callable[[], Config], delta: dict) -> None:
    assert apply(preset(), delta).data == preset().data


@PRESET
def test_asks_for_no_more_images_than_there_are(preset: Callable[[], Config]) -> None:
    config, facts = preset(), about(preset().data)
    assert config.segmentation.label_images <= facts.label_images
    # The floor of FID is drawn from the held-out images, as many as the model draws.
    assert config.sampling.samples <= facts.held_out_images


@PRESET
def test_looks_at_every_up_block(preset: Callable[[], Config]) -> None:
    assert preset().segmentation.blocks == preset().unet.up_blocks
