"""The stage `ddpm`: a trained U-Net, kept as the moving average of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.config import Config
from trainables.data import About
from trainables.network_cost import network_cost

if TYPE_CHECKING:
    from trainables.checkpoints import Checkpoints
    from trainables.progress import Making
    from trainables.stages.stage import Context
    from trainables.unet.unet import UNet

NAME, FORMAT, LABEL = "ddpm", 1, "training"
WEIGHTS = "ema.safetensors"


def needs(config: Config) -> tuple[str, ...]:
    """Nothing comes before it."""
    return ()


def determined_by(config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
    """The seed, the images, and all that says how the network is built and trained."""
    data = [config.data, about.fingerprint]
    return [config.seed, data, config.unet, config.diffusion, config.training]


def make(context: Context, checkpoints: Checkpoints) -> Making:
    """Progress of the training; returns what writes the weights."""
    from safetensors.torch import save

    from trainables.training import Trainer

    trainer = Trainer(context.config, context.data.train.to(context.device), context.parts)
    yield from trainer.run(checkpoints)
    weights = {name: v.contiguous() for name, v in trainer.ema.state_dict().items()}

    def write(folder: Path) -> None:
        # By way of memory: the library's own file writer reports a full disk as something other than an OSError.
        (folder / WEIGHTS).write_bytes(save(weights))

    return write


def load(context: Context) -> UNet:
    """The trained network, on the trial's device, for inference.

    Raises:
        Diverged: its weights are not finite.
    """
    from safetensors.torch import load_file

    from trainables.finite import check_weights
    from trainables.training import build

    model = build(context.config, context.data.about.image_channels, context.device)
    model.load_state_dict(load_file(context.artefacts[NAME] / WEIGHTS, device=str(context.device)))
    check_weights(model, "the trained network")
    return model.requires_grad_(False).eval()


def flops(config: Config, about: About) -> float:
    """A forward and a backward of each image of each step; self-conditioning is a forward more at half of them."""
    images = config.training.batch_size * config.training.train_steps
    return (3 + config.training.self_conditioning / 2) * network_cost(config, about).forward_flops * images


def metrics(config: Config) -> tuple[str, ...]:
    """None of its own."""
    return ()
