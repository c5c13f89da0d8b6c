"""What a network costs: its parameters and operations, counted by torch itself on tensors without memory.

Any network can be counted so, but it takes torch and a moment. What was counted once is kept in the cache folder:

    CACHE/network_costs/KEY.json    KEY: the network's settings, its images, its blocks, and the code that makes it

So a plan whose networks are known imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from trainables.cache import keep, kept
from trainables.config import Config
from trainables.data import About
from trainables.sections import Pretrained, UNet
from trainables.store import hashed

HERE = Path(__file__).parent
CODE = (Path(__file__), HERE / "sections.py", *sorted((HERE / "unet").glob("*.py")))  # what the counts follow from


@dataclass(frozen=True)
class NetworkCost:
    """Of one image; norms and activations count no operations.

    Args:
        parameters: of the whole network.
        forward_flops: floating-point operations of a whole forward.
        features_flops: the same, up to the last of the blocks that the segmentation reads.
        feature_channels: of these blocks' outputs together.
    """

    parameters: int
    forward_flops: int
    features_flops: int
    feature_channels: int


def network_cost(config: Config, about: About) -> NetworkCost:
    """The cost of the trial's network for one image."""
    size, blocks = config.data.image_size, config.segmentation.blocks
    if config.pretrained is None:
        return _known(config.unet, about.image_channels, size, blocks, config.input_images, config.output_images)
    network = config.pretrained.model_copy(update={"weights": "random"})
    return _known(network, network.image_channels, size, blocks)


@cache
def _known(
    network: UNet | Pretrained,
    image_channels: int,
    image_size: int,
    blocks: tuple[int, ...],
    input_images: int = 1,
    output_images: int = 1,
) -> NetworkCost:
    images = [image_channels, image_size, input_images, output_images]
    key = hashed([type(network).__name__, network.model_dump(), images, blocks, _code()])
    name = f"network_costs/{key}.json"
    with contextlib.suppress(TypeError):  # not there, or damaged: counted anew
        return NetworkCost(**kept(name))
    found = _counted(network, image_channels, image_size, blocks, input_images, output_images)
    keep(name, asdict(found))
    return found


@cache
def _code() -> str:
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    for path in CODE:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _counted(
    network: UNet | Pretrained,
    image_channels: int,
    image_size: int,
    blocks: tuple[int, ...],
    input_images: int,
    output_images: int,
) -> NetworkCost:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from trainables.unet import guided_diffusion, unet

    with torch.device("meta"), torch.no_grad():
        if isinstance(network, UNet):
            model: unet.UNet | guided_diffusion.GuidedUNet = unet.UNet(
                network, image_channels, image_size, input_images, output_images
            )
        else:
            model = guided_diffusion.GuidedUNet(network, image_channels, image_size)
        x_t = torch.empty(1, input_images * image_channels, image_size, image_size)
        t = torch.zeros(1, dtype=torch.long)
        with FlopCounterMode(display=False) as whole:
            model(x_t, t)
        with FlopCounterMode(display=False) as to_the_last_block:
            outputs = model.features(x_t, t, blocks)
    return NetworkCost(
        parameters=sum(p.numel() for p in model.parameters()),
        forward_flops=whole.get_total_flops(),
        features_flops=to_the_last_block.get_total_flops(),
        feature_channels=sum(output.shape[1] for output in outputs.values()),
    )
