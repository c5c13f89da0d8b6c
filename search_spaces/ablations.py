"""The ablation study and its suites: each variant changes the baseline in one respect, and says so in one line."""

from __future__ import annotations

from trainables.config import Overrides

VARIANTS: dict[str, Overrides] = {
    "baseline": {},
    "adagn": {"unet.norm": "adagn"},  # Dhariwal & Nichol 2021
    "convnext": {"unet.block": "convnext"},  # Liu et al. 2022
    "cosine": {"diffusion.beta_schedule": "cosine"},  # Nichol & Dhariwal 2021
    "no_attention": {"unet.attention_resolutions": ()},
}

# What the field usually tries, by what it is of: `--suite NAME`. docs/variants.md has the sources in full.
SUITES: dict[str, dict[str, Overrides]] = {
    "architecture": {
        "baseline": {},
        "adagn": {"unet.norm": "adagn"},  # Dhariwal & Nichol 2021
        "convnext": {"unet.block": "convnext"},  # Liu et al. 2022
        "no_attention": {"unet.attention_resolutions": ()},
        "one_head": {"unet.attention_heads": 1},  # Dhariwal & Nichol 2021, table 2
        "qk_norm": {"unet.qk_norm": True},  # Dehghani et al. 2023
        "skip_scaling": {"unet.skip_scaling": 0.7071},  # Saharia et al. 2022
    },
    "objective": {
        "baseline": {},
        "x_0": {"diffusion.prediction": "x_0"},  # Ho et al. 2020, section 3.2
        "v": {"diffusion.prediction": "v"},  # Salimans & Ho 2022
        "min_snr": {"training.loss_weighting": "min_snr"},  # Hang et al. 2023
        "v_min_snr": {"diffusion.prediction": "v", "training.loss_weighting": "min_snr"},
        "p2": {"training.loss_weighting": "p2"},  # Choi et al. 2022
        "l1": {"training.loss": "l1"},
        "huber": {"training.loss": "huber"},  # Huber 1964
        "self_conditioning": {"training.self_conditioning": True},  # Chen, Zhang & Hinton 2022
        "learned_variance": {"diffusion.learned_variance": True},  # Nichol & Dhariwal 2021; with ddpm sampling
    },
    "schedule": {
        "baseline": {},
        "cosine": {"diffusion.beta_schedule": "cosine"},  # Nichol & Dhariwal 2021
        "sigmoid": {"diffusion.beta_schedule": "sigmoid"},  # Jabri et al. 2022
        "v": {"diffusion.prediction": "v"},  # what the next two are to be compared with
        "zero_snr": {"diffusion.prediction": "v", "diffusion.zero_terminal_snr": True},  # Lin et al. 2024
        "cosine_zero_snr": {
            "diffusion.beta_schedule": "cosine", "diffusion.prediction": "v", "diffusion.zero_terminal_snr": True,
        },
    },
    "regularisation": {
        "baseline": {},
        "dropout": {"unet.dropout": 0.1},  # Ho et al. 2020, appendix B
        "flips": {"training.flips": True},  # Ho et al. 2020, appendix B
        "no_weight_decay": {"training.weight_decay": 0.0},
        "no_ema": {"training.ema_decay": 0.0},  # the last step's weights
        "long_ema": {"training.ema_decay": 0.9999},  # Ho et al. 2020, appendix B
        "no_ema_warmup": {"training.ema_warmup": False},
    },
}  # fmt: skip

# The report's Table 1, preset `paper`: three samplings of one training each.
PUBLISHED_FID = {"baseline": 47.081, "adagn": 49.303, "convnext": 44.001, "cosine": 46.541, "no_attention": 52.476}

# The floor and the ceiling of each metric: without them a figure says nothing.
CONTROLS: dict[str, Overrides] = {
    "untrained": {"training.train_steps": 0},
    "real_images": {"sampling.source": "held_out", "stages": ("fid",)},
    "raw_pixels": {"segmentation.features": "pixels", "stages": ("segmentation",)},
}
