"""The costs that are counted from the settings alone against torch's own counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.ablations import VARIANTS
from search_spaces.presets import quick
from trainables.config import Config, Data, Overrides, Segmentation, apply
from trainables.config import UNet as UNetConfig
from trainables.unet.cost import unet_cost
from trainables.unet.unet import UNet

SMALL = Config(
    data=Data(image_size=16),
    unet=UNetConfig(base_channels=16, channel_mults=(1, 2, 2), attention_resolutions=(8, 4), attention_heads=2),
    segmentation=Segmentation(blocks=(5, 6, 7)),
)
OTHERS: dict[str, Overrides] = {
    "first multiplier 2": {"unet.channel_mults": (2, 2, 4)},
    "one level": {"unet.channel_mults": (1,), "segmentation.blocks": (3,), "unet.attention_resolutions": ()},
    "three blocks a level": {"unet.blocks_per_level": 3},
    "convnext with adagn, expansion 4": {"unet.block": "convnext", "unet.norm": "adagn", "unet.convnext_expansion": 4},
    "attention everywhere": {"unet.attention_resolutions": (16, 8, 4), "unet.attention_heads": 4},
    "large images": {"data.image_size": 64, "unet.attention_resolutions": (16,)},
}
CONFIGS = {
    **{f"quick, {name}": apply(quick(), delta) for name, delta in VARIANTS.items()},
    **{f"small, {name}": apply(SMALL, delta) for name, delta in OTHERS.items()},
    **{f"default, {name}": apply(Config(), delta) for name, delta in VARIANTS.items()},
}


@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_parameters_and_macs_are_those_that_torch_counts(config: Config, image_channels: int) -> None:
    size = config.data.image_size
    with torch.device("meta"):
        model = UNet(config.unet, image_channels, size)
        x_t, t = torch.empty(1, image_channels, size, size), torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(x_t, t)
    cost = unet_cost(config.unet, image_channels, size)
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert 2 * cost.macs == counter.get_total_flops()
