"""Presets: functions that return a whole config, the baseline of a study."""

from __future__ import annotations

from collections.abc import Callable

from trainables.config import Config, Data, Diffusion, Sampling, Segmentation, Training, UNet


def quick() -> Config:
    """Real digits at 16x16 on two CPU cores: every stage of the pipeline, all variants within ten minutes."""
    return Config(
        data=Data(dataset="digits", image_size=16),
        unet=UNet(
            base_channels=16,
            channel_mults=(1, 2, 2),
            blocks_per_level=1,
            attention_resolutions=(8, 4),
            attention_heads=2,
        ),
        diffusion=Diffusion(timesteps=1000, beta_schedule="linear"),
        training=Training(
            train_steps=1200,
            batch_size=64,
            learning_rate=2e-3,
            warmup_steps=50,
            final_learning_rate=0.05,
            ema_decay=0.99,
        ),
        sampling=Sampling(sampler="ddim", sampling_steps=25, sampling_repeats=3, samples=500, batch_size=250),
        segmentation=Segmentation(
            blocks=(5, 6, 7),
            timesteps=(50, 150, 250),
            label_images=100,
            epochs=10,
            batch_size=256,
            learning_rate=2e-3,
        ),
    )


PRESETS: dict[str, Callable[[], Config]] = {"quick": quick}
