"""The stage `ddpm`: a trained U-Net, kept as the moving average of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.config import Config
from trainables.data import About
from trainables.network_cost import network_cost

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from trainables.checkpoints import Checkpoints
    from trainables.progress import Making
    from trainables.stages.stage import Context
    from trainables.training import Network

NAME, FORMAT, LABEL = "ddpm", 1, "training"
WEIGHTS = "ema.safetensors"


def needs(config: Config) -> tuple[str, ...]:
    """Nothing comes before it."""
    return ()


def determined_by(config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
    """The seed, the images, and all that says how the network is built and trained."""
    data = [config.data, about.fingerprint]
    network = config.unet if config.network == "unet" else [config.network, dict(config.network_args)]
    return [config.seed, data, network, config.diffusion, config.training]


def make(context: Context, checkpoints: Checkpoints) -> Making:
    """Progress of the training; returns what writes the weights."""
    from safetensors.torch import save

    from trainables.training import Trainer

    trainer = Trainer(context.config, context.data.train.to(context.device), context.parts)
    yield from trainer.run(checkpoints)
    weights = weights_of(trainer.ema)

    def write(folder: Path) -> None:
        # By way of memory: the library's own file writer reports a full disk as something other than an OSError.
        (folder / WEIGHTS).write_bytes(save(weights))

    return write


def weights_of(network: Module) -> dict[str, Tensor]:
    """The network's weights as they are kept: two names of one tensor are two tensors."""
    kept, seen = dict[str, "Tensor"](), set[int]()
    for name, value in network.state_dict().items():
        kept[name] = value.contiguous()
        if value.data_ptr() in seen:
            kept[name] = value.clone()
        seen.add(value.data_ptr())
    return kept


def load(context: Context) -> Network:
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
