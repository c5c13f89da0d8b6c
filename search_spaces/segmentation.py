"""The segmentation study: every change that the report tried, one line and one trial each, on one trained DDPM."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.config import Config, Overrides

# What the report changed in its search for a classifier that works on unseen images; the same for every dataset.
CLASSIFIER: dict[str, Overrides] = {
    "slow_learning": {"segmentation.learning_rate": 2e-4},
    "fast_learning": {"segmentation.learning_rate": 5e-3},
    "by_image": {"segmentation.pixel_order": "by_image"},
    "one_member": {"segmentation.ensemble_size": 1},
    "large_members": {"segmentation.hidden_channels": (256, 128)},  # the reference's from 30 classes on
    "early_timesteps": {"segmentation.timesteps": (5, 15, 25)},
    "late_timesteps": {"segmentation.timesteps": (400, 600, 800)},
    "one_timestep": {"segmentation.timesteps": (50,)},
}

CONFIGURATIONS: dict[str, dict[str, Overrides]] = {
    "quick": {
        "baseline": {},
        "few_labels": {"segmentation.label_images": 20},
        "more_labels": {"segmentation.label_images": 180},
        "coarse_blocks": {"segmentation.blocks": (5, 6)},
        "fine_blocks": {"segmentation.blocks": (6, 7)},
        **CLASSIFIER,
    },
    "paper": {
        "baseline": {},
        "more_labels": {"segmentation.label_images": 80},
        "coarse_blocks": {"segmentation.blocks": (6, 7)},
        "fine_blocks": {"segmentation.blocks": (8, 9)},
        **CLASSIFIER,
    },
    "own": {
        "baseline": {},
        "more_labels": {"segmentation.label_images": 60},
        "coarse_blocks": {"segmentation.blocks": (5, 6)},
        "fine_blocks": {"segmentation.blocks": (6, 7)},
        **CLASSIFIER,
    },
    "bedroom": {
        "baseline": {},
        "few_labels": {"segmentation.label_images": 20},
        "first_release_blocks": {"segmentation.blocks": (6, 7, 8, 9)},  # ddpm-segmentation's, and the report's numbers
        **CLASSIFIER,
    },
}

HEAT_MAP_TIMESTEPS = (10, 50, 150, 250, 500, 800)


def controls(baseline: Config) -> dict[str, Overrides]:
    """The configurations without which an mIoU says nothing: untrained features, and pixel values."""
    own = baseline.pretrained is None
    untrained: Overrides = {"training.train_steps": 0} if own else {"pretrained.weights": "random"}
    return {"untrained": untrained, "raw_pixels": {"segmentation.features": "pixels"}}


def probes(baseline: Config, timesteps: Sequence[int]) -> dict[str, Overrides]:
    """A configuration for each (block, timestep) alone: together the map of where the information is."""
    one: Overrides = {"segmentation.noise_levels": ()} if baseline.segmentation.noise_levels else {}
    return {
        f"block{block}-t{t}": {"segmentation.blocks": (block,), "segmentation.timesteps": (t,), **one}
        for block in baseline.segmentation.blocks
        for t in timesteps
    }
