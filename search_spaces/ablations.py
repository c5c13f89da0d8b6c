"""The ablation study: each variant changes one thing in the baseline, and says so in one line."""

from __future__ import annotations

from trainables.config import Overrides

VARIANTS: dict[str, Overrides] = {
    "baseline": {},
    "adagn": {"unet.norm": "adagn"},  # Dhariwal & Nichol 2021
    "convnext": {"unet.block": "convnext"},  # Liu et al. 2022
    "cosine": {"diffusion.beta_schedule": "cosine"},  # Nichol & Dhariwal 2021
    "no_attention": {"unet.attention_resolutions": ()},
}

# The report's Table 1, preset `paper`: three samplings of one training each.
PUBLISHED_FID = {"baseline": 47.081, "adagn": 49.303, "convnext": 44.001, "cosine": 46.541, "no_attention": 52.476}

# The floor and the ceiling of each metric: without them a figure says nothing.
CONTROLS: dict[str, Overrides] = {
    "untrained": {"training.train_steps": 0},
    "real_images": {"sampling.source": "held_out", "stages": ("fid",)},
    "raw_pixels": {"segmentation.features": "pixels", "stages": ("segmentation",)},
}
