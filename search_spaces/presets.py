"""Presets: functions that return a whole config, the baseline of a study.

Each says the command that runs it, how long that takes on which machine, and which figures it gives: only what was
measured. Figures are of seed 0; on another kind of processor their last digits differ.
"""

from __future__ import annotations

from collections.abc import Callable

from trainables.config import Config
from trainables.sections import Data, Diffusion, Fid, Pretrained, Sampling, Segmentation, Training, UNet


def quick() -> Config:
    """Real digits at 16x16: every stage of the pipeline, for CPU cores.

    Command: `python -m orchestrator.run ablations`, five variants and three controls.
    Time: 465 s on two cores of a Zen 4 server; longer where other work shares them.
    Figures: baseline fid_digits 45.8, miou 0.697; adagn 36.2, 0.721. README's picture has three seeds of all.
    """
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


def paper() -> Config:
    """The study's Table 1: MNIST at 32x32, 50 epochs, T = 1000, three samplings of each model. For a GPU.

    Command: `python -m orchestrator.run ablations --preset paper --seeds 0 1 2`.
    Time and figures: not measured. The report prints FIDs from 44.0 to 52.5, of another number of samples.
    """
    return Config(
        data=Data(dataset="mnist", image_size=32),
        unet=PAPER_UNET,
        diffusion=Diffusion(timesteps=1000, beta_schedule="linear", beta_min=1e-4),
        training=_paper_training(epochs=50, images=60_000),
        sampling=Sampling(sampler="ddpm", sampling_steps=1000, sampling_repeats=3, samples=5000, batch_size=1000),
        fid=Fid(metrics=("fid", "kid", "fid_digits")),
        segmentation=Segmentation(blocks=(6, 7, 8, 9), timesteps=(50, 150, 250), label_images=100),
    )


def voc() -> Config:
    """The study's section 5.1: the DDPM on PASCAL VOC 2012 at 32x32, 1000 epochs, and its samples. For a GPU.

    Command: `python -m orchestrator.run ablations --preset voc`.
    Time and figures: not measured.
    """
    return Config(
        data=Data(dataset="voc", image_size=32),
        unet=PAPER_UNET,
        diffusion=Diffusion(timesteps=1000, beta_schedule="linear", beta_min=1e-4),
        training=_paper_training(epochs=1000, images=1464),
        # As many as there are held-out photographs to compare with, so the FID is a smoke value: say so.
        sampling=Sampling(sampler="ddpm", sampling_steps=1000, sampling_repeats=3, samples=700, batch_size=700),
        fid=Fid(metrics=("fid", "kid")),
        segmentation=Segmentation(blocks=(6, 7, 8, 9), timesteps=(50, 150, 250), label_images=20),
    )


def paper_segmentation() -> Config:
    """The study's section 5.2: segmentation of PASCAL VOC 2012 with the features of `voc`'s DDPM. For a GPU.

    Command: `python -m orchestrator.run segmentation --preset paper`.
    Time and figures: not measured; on CamVid, made small, docs/findings.md has them.
    """
    return voc().model_copy(update={"stages": ("segmentation",)})


def quick_segmentation() -> Config:
    """Segmentation of real digits with the features of `quick`'s DDPM, for CPU cores.

    Command: `python -m orchestrator.run segmentation`.
    Time: not measured. Figures: the baseline's mIoU is that of `quick`, of whose DDPM it is; others not measured.
    """
    return quick().model_copy(update={"stages": ("segmentation",)})


def own() -> Config:
    """One's own images at 32x32, with masks or without, on two CPU cores or a GPU.

    Command: `python -m orchestrator.run ablations --preset own --data-root FOLDER`.
    Time and figures: not measured; they depend on the images. From so few samples `fid` is a smoke value, as the table
    says; `kid` has no such bias. Both need the Inception's weights, which are downloaded; of grey images alone
    `--set fid.metrics=[fid_digits]` needs no download, but is a distance between digits. At 64x64 pixels the attention
    is named anew too: `--set data.image_size=64 --set unet.attention_resolutions=[16]`.
    """
    return own_segmentation().model_copy(
        update={
            "stages": ("fid", "segmentation"),
            "sampling": Sampling(sampler="ddim", sampling_steps=25, sampling_repeats=3, samples=500, batch_size=250),
            "fid": Fid(metrics=("fid", "kid")),
        }
    )


def own_segmentation() -> Config:
    """Segmentation of one's own images at 32x32 with the features of `own`'s DDPM: 125 images or more, with masks.

    Command: `python -m orchestrator.run segmentation --preset own --data-root FOLDER`.
    Time and figures: not measured; they depend on the images.
    """
    return Config(
        stages=("segmentation",),
        data=Data(dataset="folder", image_size=32),
        unet=UNet(base_channels=32, channel_mults=(1, 2, 4), blocks_per_level=1, attention_resolutions=(8,)),
        diffusion=Diffusion(timesteps=1000, beta_schedule="linear"),
        training=Training(
            train_steps=1500,
            batch_size=32,
            learning_rate=1e-3,
            warmup_steps=100,
            final_learning_rate=0.05,
            ema_decay=0.995,
        ),
        segmentation=Segmentation(blocks=(5, 6, 7), label_images=20, validation_images=5),
    )


def bedroom() -> Config:
    """The study's last check: Bedroom-28 with the features of guided-diffusion's LSUN model. For a GPU.

    Command: `python -m orchestrator.run segmentation --preset bedroom --checkpoint FILE --data-root FOLDER`.
    Time and figures: not measured. Baranchuk et al. 2022 print an mIoU of 49.4 +- 1.9 (their rule: miou_reference).
    """
    return Config(
        stages=("segmentation",),
        data=Data(dataset="bedroom28", image_size=256),
        pretrained=Pretrained(),
        diffusion=Diffusion(timesteps=1000, beta_schedule="linear"),
        segmentation=Segmentation(
            blocks=(5, 6, 7, 8, 12),
            timesteps=(50, 150, 250),
            label_images=40,
            validation_images=0,
            held_out_images=20,
            miou_rules=("void_masked", "reference"),
        ),
    )


# Up blocks 6, 7, 8 and 9 put out 256, 128, 64 and 64 channels: 1536 at three timesteps.
PAPER_UNET = UNet(base_channels=64, channel_mults=(1, 2, 4, 8), attention_resolutions=(16, 8, 4))


def _paper_training(epochs: int, images: int) -> Training:
    return Training(
        train_steps=epochs * images // 128,
        batch_size=128,
        learning_rate=2e-4,
        warmup_steps=500,
        ema_decay=0.999,
        precision="bf16",
    )


ABLATIONS: dict[str, Callable[[], Config]] = {"quick": quick, "paper": paper, "voc": voc, "own": own}
SEGMENTATION: dict[str, Callable[[], Config]] = {
    "quick": quick_segmentation,
    "paper": paper_segmentation,
    "own": own_segmentation,
    "bedroom": bedroom,
}
