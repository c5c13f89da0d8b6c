"""The U-Net of every variant: its shape, its gradients, its features and where its attention is."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from search_spaces.ablations import SUITES
from search_spaces.presets import quick
from trainables.config import Config, apply
from trainables.sections import Data, Segmentation
from trainables.sections import UNet as UNetConfig
from trainables.unet.blocks import Attention
from trainables.unet.unet import UNet

SMALL = Config(
    data=Data(image_size=16),
    unet=UNetConfig(
        base_channels=16, channel_mults=(1, 2, 2), blocks_per_level=1, attention_resolutions=(8, 4), attention_heads=2
    ),
    segmentation=Segmentation(blocks=(5, 6, 7)),
)
VARIANT = pytest.mark.parametrize("variant", SUITES["architecture"])


def _config(variant: str) -> Config:
    return apply(quick(), SUITES["architecture"][variant])


def _net(config: Config, image_channels: int = 1) -> UNet:
    torch.manual_seed(0)
    return UNet(config.unet, image_channels, config.data.image_size)


def _inputs(config: Config, image_channels: int = 1) -> tuple[Tensor, Tensor]:
    size, g = config.data.image_size, torch.Generator().manual_seed(1)
    return torch.randn(2, image_channels, size, size, generator=g), torch.tensor([3, 700])


@VARIANT
@pytest.mark.parametrize("image_channels", [1, 3])
def test_output_has_the_shape_of_the_input_and_starts_at_no_noise(variant: str, image_channels: int) -> None:
    config = _config(variant)
    x_t, t = _inputs(config, image_channels)
    out = _net(config, image_channels)(x_t, t)
    assert out.shape == x_t.shape
    assert not out.any()


@VARIANT
def test_gradients_reach_every_parameter_once_the_head_is_not_zero(variant: str) -> None:
    config = _config(variant)
    model = _net(config)
    x_t, t = _inputs(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(model(x_t, t), torch.randn(x_t.shape)).backward()
        optimizer.step()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, g in grads.items() if g is None or not g.any()] == []
    assert [name for name, g in grads.items() if g is not None and not g.isfinite().all()] == []


@VARIANT
def test_prediction_depends_on_the_timestep(variant: str) -> None:
    config = _config(variant)
    model = _net(config)
    nn.init.normal_(model.head.weight)
    x_t, _ = _inputs(config)
    x_t = x_t[:1].expand(2, -1, -1, -1)
    early, late = model(x_t, torch.tensor([3, 700]))
    assert not torch.allclose(early, late, atol=1e-3)


def test_skip_scaling_is_a_factor_of_what_comes_from_the_way_down_and_of_nothing_else() -> None:
    plain, scaled = _net(SMALL), _net(apply(SMALL, {"unet.skip_scaling": 0.5}))
    seen: dict[str, list[Tensor]] = {"plain": [], "scaled": []}
    for name, model in (("plain", plain), ("scaled", scaled)):
        model.up[0].blocks[0].register_forward_pre_hook(lambda _m, given, name=name: seen[name].append(given[0]))
        model(*_inputs(SMALL))
    [one], [other] = seen["plain"], seen["scaled"]
    width = SMALL.unet.level_channels[-1]
    assert torch.equal(one[:, :width], other[:, :width])
    assert torch.equal(0.5 * one[:, width:], other[:, width:])
    assert one[:, width:].any()


def test_every_skip_is_scaled() -> None:
    model = _net(apply(SMALL, {"unet.skip_scaling": 0.5}))
    assert [level.skip_scaling for level in model.up] == [0.5] * 3


@VARIANT
def test_features_are_the_up_blocks_outputs_of_a_full_forward(variant: str) -> None:
    config = _config(variant)
    model = _net(config).eval()
    x_t, t = _inputs(config)
    seen: dict[int, Tensor] = {}
    for number, module in zip(config.unet.up_blocks, model.upsample, strict=True):
        module.register_forward_hook(lambda _m, _i, out, number=number: seen.update({number: out}))
    model(x_t, t)
    whole = dict(seen)
    found = model.features(x_t, t, config.unet.up_blocks)
    assert found.keys() == whole.keys() == set(config.unet.up_blocks)
    assert all(torch.equal(found[number], whole[number]) for number in whole)
    # The width of the next finer level, base_channels at the last.
    assert [f.shape[1] for f in found.values()] == [32, 16, 16]


@pytest.mark.parametrize(("blocks", "levels_run"), [((5,), 1), ((5, 6), 2), ((6,), 2), ((7,), 3), ((7, 5), 3)])
def test_features_stop_after_the_last_block_that_is_asked_for(blocks: tuple[int, ...], levels_run: int) -> None:
    config = SMALL
    model = _net(config)
    calls: Counter[str] = Counter()
    for name, module in model.named_modules():
        if name.startswith(("up.", "upsample.", "norm", "head", "middle.blocks.0")):
            module.register_forward_hook(lambda *_args, name=name: calls.update([name]))
    assert set(model.features(*_inputs(config), blocks)) == set(blocks)
    assert [i for i in range(3) if calls[f"upsample.{i}"]] == list(range(levels_run))
    assert {int(name.split(".")[1]) for name in calls if name.startswith("up.")} == set(range(levels_run))
    assert calls["middle.blocks.0"] == 1
    assert not calls["norm"] + calls["head"]


@pytest.mark.parametrize("image_size", [16, 32])
def test_the_papers_1536_features(image_size: int) -> None:
    config = apply(Config(), {"data.image_size": image_size})
    with torch.device("meta"):
        model, x_t, t = _net(config), torch.empty(1, 1, image_size, image_size), torch.zeros(1, dtype=torch.long)
    found = model.features(x_t, t, config.segmentation.blocks)
    shapes = [tuple(f.shape[1:]) for f in found.values()]
    half, quarter = image_size // 2, image_size // 4
    assert shapes == [
        (256, quarter, quarter),
        (128, half, half),
        (64, image_size, image_size),
        (64, image_size, image_size),
    ]
    assert len(config.segmentation.timesteps) * sum(channels for channels, *_ in shapes) == 1536


@pytest.mark.parametrize("resolutions", [(), (4,), (16, 4), (8, 4)])
def test_attention_is_at_the_resolutions_that_are_asked_for(resolutions: tuple[int, ...]) -> None:
    config = apply(SMALL, {"unet.attention_resolutions": resolutions})
    model = _net(config)
    met: Counter[int] = Counter()
    for module in model.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda _m, inputs, _out: met.update([inputs[0].shape[-1]]))
    model(*_inputs(config))
    # One going down and one going up; the coarsest level has the middle block's as well.
    assert met == {resolution: 3 if resolution == 4 else 2 for resolution in resolutions}


def test_no_attention_contains_none() -> None:
    assert not any(isinstance(m, Attention) for m in _net(_config("no_attention")).modules())
    assert any(isinstance(m, Attention) for m in _net(_config("baseline")).modules())


@pytest.mark.parametrize("blocks_per_level", [1, 2, 3])
def test_every_down_block_gives_a_skip_and_every_up_block_takes_one(blocks_per_level: int) -> None:
    config = apply(SMALL, {"unet.blocks_per_level": blocks_per_level})
    model = _net(config)
    assert [len(level.blocks) for level in (*model.down, model.middle, *model.up)] == [blocks_per_level] * 7
    # An up block's first layer sees its own input and a skip side by side.
    firsts = [block.norm_1.num_channels for level in model.up for block in level.blocks]
    widths = [w for w in reversed(config.unet.level_channels) for _ in range(blocks_per_level)]
    assert firsts == [2 * w for w in widths]
    assert model(*_inputs(config)).shape == (2, 1, 16, 16)


def test_skips_go_from_a_levels_outputs_to_its_mirror_image_the_last_first() -> None:
    config = apply(SMALL, {"unet.blocks_per_level": 2})
    model = _net(config)
    given: dict[tuple[int, int], Tensor] = {}
    taken: dict[tuple[int, int], Tensor] = {}
    for i, level in enumerate(model.down):
        level.blocks[0].register_forward_hook(lambda _m, _i, out, i=i: given.update({(i, 0): out}))
        level.attention.register_forward_hook(lambda _m, _i, out, i=i: given.update({(i, 1): out}))
    for i, level in enumerate(reversed(model.up)):
        for j, block in enumerate(reversed(level.blocks)):
            block.register_forward_pre_hook(lambda _m, inputs, at=(i, j): taken.update({at: inputs[0]}))
    model(*_inputs(config))
    assert len(given) == len(taken) == 6
    for at, skip in given.items():
        assert torch.equal(taken[at][:, -skip.shape[1] :], skip)


def test_up_blocks_channels_with_a_first_multiplier_other_than_1() -> None:
    config = apply(SMALL, {"unet.channel_mults": (2, 2, 4)})
    found = _net(config).features(*_inputs(config), config.unet.up_blocks)
    assert [f.shape[1] for f in found.values()] == [32, 32, 16]


def test_channels_are_the_levels_and_the_stem_keeps_the_base_channels() -> None:
    config = apply(SMALL, {"unet.channels": (24, 40, 32)})
    net = _net(config)
    found = net.features(*_inputs(config), config.unet.up_blocks)
    assert [f.shape[1] for f in found.values()] == [40, 24, 16]  # each up block puts out the next level's
    assert (net.stem.out_channels, net.head.in_channels, net.embed[0].in_features) == (16, 16, 16)
    same = apply(SMALL, {"unet.channels": SMALL.unet.level_channels})
    assert {n: p.shape for n, p in _net(same).named_parameters()} == {
        n: p.shape for n, p in _net(SMALL).named_parameters()
    }


def test_the_papers_up_blocks_put_out_256_128_64_and_64_channels() -> None:
    with torch.device("meta"):
        model = UNet(UNetConfig(base_channels=64, channel_mults=(1, 2, 4, 8)), 1, 32)
        x_t, t = torch.empty(1, 1, 32, 32), torch.zeros(1, dtype=torch.long)
    found = model.features(x_t, t, (6, 7, 8, 9))
    assert [f.shape[1] for f in found.values()] == [256, 128, 64, 64]


def _written_out(model: UNet, config: Config, x_t: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The predicted noise and the up blocks' outputs by the weights; blocks and attention have their own tests."""
    weights = dict(model.named_parameters())

    def silu(x: Tensor) -> Tensor:
        return x / (1 + torch.exp(-x))

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding=1)

    def attended(x: Tensor, level: nn.Module, resolution: int) -> Tensor:
        return level.attention(x) if resolution in config.unet.attention_resolutions else x

    emb = get_timestep_embedding(t, config.unet.base_channels, flip_sin_to_cos=False, downscale_freq_shift=0)
    emb = silu(linear(silu(linear(emb, "embed.0")), "embed.2"))
    h, size, skips = conv(x_t, "stem"), config.data.image_size, []
    for i, level in enumerate(model.down):
        for j, block in enumerate(level.blocks):
            h = block(h, emb)
            h = attended(h, level, size) if j == len(level.blocks) - 1 else h
            skips.append(h)
        if i < len(model.down) - 1:
            h, size = conv(h, f"downsample.{i}", stride=2), size // 2
    for block in model.middle.blocks:
        h = block(h, emb)
    h, outputs = attended(h, model.middle, size), []
    for i, level in enumerate(model.up):
        for block in level.blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        h = attended(h, level, size)
        if i < len(model.up) - 1:
            h, size = conv(h.repeat_interleave(2, -1).repeat_interleave(2, -2), f"upsample.{i}.conv"), size * 2
        else:
            h = conv(h, f"upsample.{i}")
        outputs.append(h)
    grouped = h.reshape(len(h), config.unet.norm_groups, -1)
    mean, variance = grouped.mean(-1, keepdim=True), grouped.var(-1, keepdim=True, unbiased=False)
    h = ((grouped - mean) / (variance + 1e-5).sqrt()).reshape(h.shape)
    h = h * weights["norm.weight"][:, None, None] + weights["norm.bias"][:, None, None]
    return conv(silu(h), "head"), outputs


@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize(
    "overrides",
    [{}, {"unet.blocks_per_level": 2}, {"unet.attention_resolutions": (16, 4)}, {"unet.block": "convnext"}],
    ids=str,
)
def test_forward_and_features_are_the_network_written_out(overrides: dict[str, object], image_channels: int) -> None:
    config = apply(SMALL, overrides)
    model = _net(config, image_channels).eval()
    for parameter in model.parameters():  # no weight at a special value, so that none can go unused
        nn.init.normal_(parameter, std=0.2)
    x_t, t = _inputs(config, image_channels)
    with torch.no_grad():
        expected, outputs = _written_out(model, config, x_t, t)
        assert_close(model(x_t, t), expected, rtol=1e-4, atol=1e-3)
        found = model.features(x_t, t, config.unet.up_blocks)
    assert_close(list(found.values()), outputs, rtol=1e-4, atol=1e-3)
