"""The costs that are counted from the settings alone against torch's own counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.ablations import VARIANTS
from search_spaces.presets import quick
from trainables.config import Config, Data, Overrides, Pretrained, Segmentation, apply
from trainables.config import UNet as UNetConfig
from trainables.unet.cost import guided_cost, unet_cost
from trainables.unet.guided_diffusion import GuidedUNet
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


GUIDED = {
    "LSUN bedroom": (Pretrained(), 256),
    "convolutions between levels": (Pretrained(num_channels=64, resblock_updown=False, learn_sigma=False), 64),
    "small, no scale and shift": (
        Pretrained(num_channels=32, num_head_channels=16, channel_mult=(1, 2), use_scale_shift_norm=False), 32
    ),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "size"), GUIDED.values(), ids=GUIDED)
def test_guided_diffusions_parameters_and_macs_are_those_that_torch_counts(settings: Pretrained, size: int) -> None:
    with torch.device("meta"):
        model = GuidedUNet(settings, 3, size)
        x_t, t = torch.empty(1, 3, size, size), torch.zeros(1, dtype=torch.long)
    for last in (None, 0, settings.output_blocks // 2):
        with FlopCounterMode(display=False) as counter:
            model(x_t, t) if last is None else model.features(x_t, t, [last])
        cost = guided_cost(settings, 3, size, last)
        assert cost.parameters == sum(p.numel() for p in model.parameters())
        assert 2 * cost.macs == counter.get_total_flops()
