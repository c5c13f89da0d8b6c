"""The spaces of a search: every point is a config, and the baseline is one of them."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution

from search_spaces.presets import SEGMENTATION
from search_spaces.tuning import SPACES, decoded, encoded
from trainables.config import apply, flatten

PRESET = pytest.mark.parametrize("preset", SEGMENTATION)


@PRESET
def test_every_choice_of_the_segmentation_space_is_a_config(preset: str) -> None:
    baseline = SEGMENTATION[preset]()
    space = SPACES["segmentation"](baseline)
    for name, distribution in space.items():
        ends = (distribution.low, distribution.high) if hasattr(distribution, "low") else ()
        choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ends
        assert choices
        for choice in choices:
            found, before = flatten(apply(baseline, decoded({name: choice}))), flatten(baseline)
            value = found.pop(name)
            assert str(list(value) if isinstance(value, tuple) else value) == str(choice)
            assert found == {setting: before[setting] for setting in found}  # and it changes nothing else


@PRESET
def test_the_baseline_is_a_point_of_the_space_and_means_itself(preset: str) -> None:
    baseline = SEGMENTATION[preset]()
    point = encoded(baseline, SPACES["segmentation"](baseline))
    assert point is not None
    assert apply(baseline, decoded(point)) == baseline


def test_a_baseline_outside_the_space_is_no_point() -> None:
    baseline = apply(SEGMENTATION["quick"](), {"segmentation.batch_size": 100})
    assert encoded(baseline, SPACES["segmentation"](baseline)) is None


def test_the_number_of_labelled_images_is_no_choice() -> None:
    assert "segmentation.label_images" not in SPACES["segmentation"](SEGMENTATION["quick"]())
