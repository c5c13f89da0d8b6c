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
from typing import Any

from trainables.cache import keep, kept
from trainables.config import Config, reads_features, references
from trainables.data import About
from trainables.own_parts import made
from trainables.source import own_files
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
    """The cost of the trial's network for one image.

    Raises:
        PartError: a part of the person's own cannot be had or made, or fails in a forward.
    """
    pretrained, usual = config.pretrained, Config()
    if config.network != "unet" and not reads_features(config):
        blocks: tuple[int | str, ...] = ()  # which nobody has named
    else:
        blocks = config.segmentation.blocks
    changed: dict[str, Any] = {
        "data": {"image_size": config.data.image_size},
        "diffusion": {"learned_variance": config.diffusion.learned_variance},
        "training": {"self_conditioning": config.training.self_conditioning},
        "segmentation": {"blocks": blocks},
    }
    network = usual.model_copy(
        update={name: getattr(usual, name).model_copy(update=values) for name, values in changed.items()}
        | {
            "network": config.network,
            "network_args": config.network_args,
            "unet": config.unet,
            "pretrained": pretrained and pretrained.model_copy(update={"weights": "random"}),
        }
    )
    own = hashed(own_files(references(network).values()))  # in a notebook they may change
    return _known(network, pretrained.image_channels if pretrained else about.image_channels, own)


@cache
def _known(config: Config, image_channels: int, own: str) -> NetworkCost:
    name = f"network_costs/{hashed([config.model_dump(), image_channels, own, _code()])}.json"
    with contextlib.suppress(TypeError):  # not there, or damaged: counted anew
        return NetworkCost(**kept(name))
    found = _counted(config, image_channels)
    keep(name, asdict(found))
    return found


@cache
def _code() -> str:
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    for path in CODE:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _counted(config: Config, image_channels: int) -> NetworkCost:
    own = references(config)
    if not own:
        return _counted_on("meta", config, image_channels)
    try:
        return _counted_on("meta", config, image_channels)
    except Exception:  # a network that looks at values cannot be counted without any
        whose = ", ".join(f"{setting}={part}" for setting, part in own.items())
        return made(whose, lambda: _counted_on("cpu", config, image_channels))


def _counted_on(device: str, config: Config, image_channels: int) -> NetworkCost:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from trainables.unet import guided_diffusion, networks

    size, blocks = config.data.image_size, config.segmentation.blocks
    with torch.device(device), torch.no_grad(), torch.random.fork_rng(devices=[]):
        if config.pretrained is None:
            model: Any = networks.network_of(config, image_channels)
            channels = config.input_images * image_channels
        else:
            model, channels = guided_diffusion.GuidedUNet(config.pretrained, image_channels, size), image_channels
        x_t, t = torch.zeros(1, channels, size, size), torch.zeros(1, dtype=torch.long)
        with FlopCounterMode(display=False) as whole:
            model.eval()(x_t, t)
        with FlopCounterMode(display=False) as to_the_last_block:
            outputs = model.features(x_t, t, blocks) if blocks else {}
    return NetworkCost(
        parameters=sum(p.numel() for p in model.parameters()),
        forward_flops=whole.get_total_flops(),
        features_flops=to_the_last_block.get_total_flops(),
        feature_channels=sum(output.shape[1] for output in outputs.values()),
    )
