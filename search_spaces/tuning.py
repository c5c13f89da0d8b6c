"""What a search may vary: dotted settings with their ranges. A choice that is no number is written as YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from trainables.config import Config, flatten

Space = dict[str, BaseDistribution]
TIMESTEPS = (10, 50, 150, 250, 400)
NOISE_LEVELS = (6.0, 3.5, 1.3, 0.1, -1.4)  # log-SNR of about these timesteps in the linear schedule


def segmentation(baseline: Config) -> Space:
    """The pixel classifier's settings and the features that it sees; the number of labelled images stays."""
    noise, noises = "segmentation.timesteps", tuple[float, ...](TIMESTEPS)
    if baseline.segmentation.noise_levels:
        noise, noises = "segmentation.noise_levels", NOISE_LEVELS
    return {
        "segmentation.blocks": CategoricalDistribution(_subsets(baseline.segmentation.blocks)),
        noise: CategoricalDistribution(_subsets(noises, most=3)),
        "segmentation.learning_rate": FloatDistribution(2e-4, 2e-2, log=True),
        "segmentation.batch_size": CategoricalDistribution([64, 128, 256, 512]),
        "segmentation.hidden_channels": CategoricalDistribution(["[64, 32]", "[128, 32]", "[256, 128]"]),
    }


SPACES: dict[str, Callable[[Config], Space]] = {"segmentation": segmentation}


def ranges(space: Space) -> dict[str, str]:
    """What each setting of the space may be, in words."""
    return {setting: _range(distribution) for setting, distribution in space.items()}


def decoded(point: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a point of a space stands for."""
    return {name: yaml.safe_load(value) if isinstance(value, str) else value for name, value in point.items()}


def encoded(baseline: Config, space: Space) -> dict[str, Any] | None:
    """The baseline as a point of the space; None where it lies outside."""
    flat = flatten(baseline)
    point = {name: str(list(flat[name])) if isinstance(flat[name], tuple) else flat[name] for name in space}
    return point if all(_holds(distribution, point[name]) for name, distribution in space.items()) else None


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution)
    return bool(distribution.low <= value <= distribution.high)


def _range(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"{len(distribution.choices)} choices, {distribution.choices[0]} to {distribution.choices[-1]}"
    assert isinstance(distribution, FloatDistribution)
    return f"{distribution.low:g} to {distribution.high:g}{', evenly in its logarithm' if distribution.log else ''}"


def _subsets(values: tuple[float | str, ...], most: int | None = None) -> list[str]:
    """Every choice of some of the values, in their order, the smaller choices first."""
    sizes = range(1, (most or len(values)) + 1)
    return [str(list(chosen)) for size in sizes for chosen in combinations(values, size)]
