"""The network that a trial trains: our U-Net, or a person's own or a library's, as one that predicts from (x_t, t)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from trainables.config import Config
from trainables.own_parts import PartError, load, made
from trainables.unet.module_outputs import module_outputs
from trainables.unet.unet import UNet

Block = int | str  # a number of our up blocks, or a module's name, in which * stands for anything but a dot


class OwnNetwork(nn.Module):
    """A network that we did not write, called as ours are.

    Args:
        network: maps (x_t (B, C, H, W), t (B,)) to a prediction (B, C, H, W), bare or as `.sample` of what it returns.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The prediction, (B, C, H, W)."""
        output: Any = self.network(x_t, t)
        return output if isinstance(output, Tensor) else output.sample

    def features(self, x_t: Tensor, t: Tensor, blocks: Sequence[Block]) -> dict[Block, Tensor]:
        """The outputs of modules by name, each (B, C, h, w) at its own resolution; stops after the last.

        Raises:
            PartError: a name that is none of a module, or of one that puts out no maps.
        """
        return module_outputs(self.network, map(str, blocks), x_t, t)


def network_of(config: Config, image_channels: int) -> UNet | OwnNetwork:
    """The network of `config` with weights drawn from torch's global generator.

    Args:
        image_channels: 1 or 3.

    Raises:
        PartError: a part of the person's own cannot be had or made.
    """
    if config.network == "unet":
        return UNet(config.unet, image_channels, config.data.image_size, config.input_images, config.output_images)
    part, size = load(config.network), config.data.image_size
    told = {"image_channels": image_channels, "image_size": size, "sample_size": size}
    told |= {"in_channels": config.input_images * image_channels, "out_channels": config.output_images * image_channels}
    network = made(config.network, lambda: part(**_taken(part, told, config.network_args)))
    if not isinstance(network, nn.Module):
        raise PartError(f"{config.network}: must make a torch.nn.Module, but makes {type(network).__name__}")
    return OwnNetwork(network)


def _taken(part: Any, told: dict[str, int], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments: those given, and what of the data the constructor asks for by name."""
    try:
        names = set(inspect.signature(part).parameters)
    except (TypeError, ValueError):  # written in C
        names = set()
    return {**{name: value for name, value in told.items() if name in names}, **given}
