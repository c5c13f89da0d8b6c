"""guided-diffusion's network against the figures of its own code, and its blocks against what they say, written out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from trainables.sections import Pretrained
from trainables.unet.guided_checkpoint import load_checkpoint
from trainables.unet.guided_diffusion import Attention, GuidedUNet, ResBlock, random_unet

CPU = torch.device("cpu")
BEDROOM = Pretrained()
SMALL = Pretrained(
    num_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(8,), num_head_channels=16
)
SHAPE = {"image_channels": 3, "image_size": 16}  # that SMALL is used for


@pytest.fixture(scope="module")
def parity(real_data: Path) -> Path:
    """The tiny network of guided-diffusion's own code, and what it put out."""
    folder = real_data.parent / "parity" / "guided_diffusion"
    if not folder.is_dir():
        pytest.skip(f"no figures of guided-diffusion's at {folder}; it lies beside ABLATION_DATA")
    return folder


@pytest.fixture(scope="module")
def theirs(parity: Path) -> dict[str, Tensor]:
    with np.load(parity / "io.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def their_settings(parity: Path) -> Pretrained:
    card = json.loads((parity / "config.json").read_text())
    flags = card["create_model_and_diffusion_kwargs"]
    lists = {name: [int(n) for n in flags[name].split(",")] for name in ("channel_mult", "attention_resolutions")}
    # With num_head_channels, the number of heads does not count in that project; here it is refused.
    unused = {"num_heads", "num_heads_upsample"} if flags["num_head_channels"] != -1 else set()
    same = {name: flags[name] for name in Pretrained.model_fields if name in flags and name not in unused}
    return Pretrained.model_validate({**same, **lists, "weights": card["sha256"]["state_dict.pt"]})


def _randomised(module: nn.Module) -> nn.Module:
    """No weight at a special value: a norm's 1 and a bias's 0 would hide that they are not used."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def _small(settings: Pretrained = SMALL) -> GuidedUNet:
    model = _randomised(GuidedUNet(settings, **SHAPE))
    assert isinstance(model, GuidedUNet)
    return model.eval()


def _inputs(size: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 700])


def _bedroom() -> tuple[GuidedUNet, Tensor, Tensor]:
    with torch.device("meta"):
        return GuidedUNet(BEDROOM, 3, 256), torch.empty(1, 3, 256, 256), torch.zeros(1, dtype=torch.long)


# The network


def test_output_and_activations_are_those_of_guided_diffusion(
    parity: Path, theirs: dict[str, Tensor], their_settings: Pretrained
) -> None:
    model = load_checkpoint(parity / "state_dict.pt", their_settings, 3, 32, CPU)
    blocks = range(their_settings.output_blocks)
    found = model.features(theirs["x"], theirs["timesteps"], blocks)
    ours = {"output": model(theirs["x"], theirs["timesteps"]), **{f"act_{n:02d}": found[n] for n in blocks}}
    assert ours.keys() == {name for name in theirs if name == "output" or name.startswith("act_")}
    errors = {name: float((ours[name] - theirs[name]).abs().max()) for name in ours}
    assert {name: error for name, error in errors.items() if not error <= 5e-5} == {}


def test_the_bedroom_network_has_the_size_of_the_published_one() -> None:
    model, _, _ = _bedroom()
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 552.81
    assert len(model.state_dict()) == 566
    assert len(model.output_blocks) == BEDROOM.output_blocks == 18


def test_the_bedroom_network_costs_what_was_measured_and_stopping_early_saves_that_much() -> None:
    model, x_t, t = _bedroom()

    def flops(run: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    whole = flops(lambda: model(x_t, t))
    assert round(whole / 1e12, 2) == 2.24
    savings = {
        block: round(100 - 100 * flops(lambda b=block: model.features(x_t, t, [b])) / whole) for block in (8, 12)
    }
    assert savings == {8: 64, 12: 46}


@pytest.mark.parametrize("resblock_updown", [True, False])
def test_keys_and_shapes_where_the_settings_change_them(resblock_updown: bool) -> None:
    settings = SMALL.model_copy(update={"resblock_updown": resblock_updown, "use_scale_shift_norm": False})
    with torch.device("meta"):
        shapes = {key: tuple(p.shape) for key, p in GuidedUNet(settings, 1, 16).state_dict().items()}
    # 0 stem, 1 block, 2 down-sampler, 3 block; up again: 0, 1 with the up-sampler, 2, 3.
    down = {key.removeprefix("input_blocks.2.") for key in shapes if key.startswith("input_blocks.2.")}
    up = {key.removeprefix("output_blocks.1.2.") for key in shapes if key.startswith("output_blocks.1.2.")}
    if resblock_updown:
        parts = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3")
        assert up == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
        assert down == {f"0.{key}" for key in up}
    else:
        assert (down, up) == ({"0.op.weight", "0.op.bias"}, {"conv.weight", "conv.bias"})
    assert shapes["input_blocks.3.0.emb_layers.1.weight"] == (64, 128)
    assert shapes["output_blocks.1.1.qkv.weight"] == (192, 64, 1)
    assert shapes["input_blocks.0.0.weight"] == (32, 1, 3, 3)
    assert shapes["out.2.weight"] == (2, 32, 3, 3)


def test_without_learn_sigma_the_output_is_the_noise_alone() -> None:
    assert _small()(*_inputs()).shape == (2, 6, 16, 16)
    assert _small(SMALL.model_copy(update={"learn_sigma": False}))(*_inputs()).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("resample", ["same", "half", "double"])
@pytest.mark.parametrize("scale_shift", [True, False])
def test_res_block_written_out(scale_shift: bool, resample: str) -> None:
    change = {
        "same": lambda x: x,
        "half": lambda x: F.interpolate(x, scale_factor=0.5, mode="area"),
        "double": lambda x: x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3),
    }[resample]
    module = {"same": nn.Identity(), "half": nn.AvgPool2d(2), "double": nn.Upsample(scale_factor=2.0)}[resample]
    settings = SMALL.model_copy(update={"use_scale_shift_norm": scale_shift})
    block = _randomised(ResBlock(64, 32, settings, module))
    w = dict(block.named_parameters())
    x, emb = 0.01 * torch.randn(2, 64, 6, 6), torch.randn(2, 128)  # so faint that the norm's eps counts

    h = F.silu(F.group_norm(x, 32, w["in_layers.0.weight"], w["in_layers.0.bias"], eps=1e-5))
    h = F.conv2d(change(h), w["in_layers.2.weight"], w["in_layers.2.bias"], padding=1)
    timed = F.linear(F.silu(emb), w["emb_layers.1.weight"], w["emb_layers.1.bias"])[:, :, None, None]
    norm = (32, w["out_layers.0.weight"], w["out_layers.0.bias"], 1e-5)
    h = F.group_norm(h, *norm) * (1 + timed[:, :32]) + timed[:, 32:] if scale_shift else F.group_norm(h + timed, *norm)
    h = F.conv2d(F.silu(h), w["out_layers.3.weight"], w["out_layers.3.bias"], padding=1)
    skip = F.conv2d(change(x), w["skip_connection.weight"], w["skip_connection.bias"])
    assert_close(block(x, emb), skip + h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_that_of_torch_with_the_channels_counted_by_head(heads: int) -> None:
    attention = _randomised(Attention(64, SMALL.model_copy(update={"num_head_channels": 64 // heads})))
    x = torch.randn(2, 64, 3, 5)
    # torch counts query, key and value first, then the head.
    order = torch.arange(192).reshape(heads, 3, 64 // heads).transpose(0, 1).flatten()
    expected, _ = F.multi_head_attention_forward(
        *[attention.norm(x).flatten(2).permute(2, 0, 1)] * 3,  # (HW, B, C)
        embed_dim_to_check=64,
        num_heads=heads,
        in_proj_weight=attention.qkv.weight[order, :, 0],
        in_proj_bias=attention.qkv.bias[order],
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=attention.proj_out.weight[:, :, 0],
        out_proj_bias=attention.proj_out.bias,
        need_weights=False,
    )
    assert_close(attention(x), x + expected.permute(1, 2, 0).reshape(x.shape), rtol=1e-4, atol=1e-4)


def _legacy(qkv: Tensor, heads: int) -> Tensor:
    """guided-diffusion's QKVAttentionLegacy, written out: heads first, then query, key and value."""
    batch, width, length = qkv.shape
    c = width // (3 * heads)
    q, k, v = qkv.reshape(batch * heads, c * 3, length).split(c, dim=1)
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q, k) / c**0.5, dim=-1)
    return torch.einsum("bts,bcs->bct", weight, v).reshape(batch, -1, length)


def _new(qkv: Tensor, heads: int) -> Tensor:
    """guided-diffusion's QKVAttention, written out: query, key and value first, then heads."""
    batch, width, length = qkv.shape
    c = width // (3 * heads)
    q, k, v = (part.reshape(batch * heads, c, length) for part in qkv.chunk(3, dim=1))
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q, k) / c**0.5, dim=-1)
    return torch.einsum("bts,bcs->bct", weight, v).reshape(batch, -1, length)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize(("new_order", "theirs"), [(False, _legacy), (True, _new)])
def test_attention_has_the_heads_and_the_order_of_its_settings(
    new_order: bool, theirs: Callable[[Tensor, int], Tensor], heads: int
) -> None:
    changes = {"num_head_channels": -1, "num_heads": heads, "use_new_attention_order": new_order}
    attention = _randomised(Attention(64, SMALL.model_copy(update=changes)))
    x = torch.randn(2, 64, 3, 5)
    h = attention.proj_out(theirs(attention.qkv(attention.norm(x).flatten(2)), heads))
    assert_close(attention(x), x + h.reshape(x.shape), rtol=1e-4, atol=1e-4)


UNTOLD = {
    "num_heads": {"num_head_channels": -1, "num_heads": 2},
    "num_heads_upsample": {"num_head_channels": -1, "num_heads": 4, "num_heads_upsample": 1},
    "use_new_attention_order": {"use_new_attention_order": True},
}


@pytest.mark.parametrize("changes", UNTOLD.values(), ids=UNTOLD)
def test_what_no_shape_tells_changes_the_features(changes: dict[str, object]) -> None:
    model, other = _small(), GuidedUNet(SMALL.model_copy(update=changes), **SHAPE).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    (found,) = model.features(*_inputs(), [3]).values()
    (changed,) = other.features(*_inputs(), [3]).values()
    assert float((found - changed).norm() / found.norm()) > 0.01


def test_heads_are_counted_on_every_level_and_the_output_blocks_may_have_their_own() -> None:
    changes = {"num_head_channels": -1, "num_heads": 4, "num_heads_upsample": 2, "attention_resolutions": (16, 8)}
    model = GuidedUNet(SMALL.model_copy(update=changes), **SHAPE)
    found = {name: m.head_channels for name, m in model.named_modules() if isinstance(m, Attention)}
    assert found == {
        "input_blocks.1.1": 8,  # 32 channels
        "input_blocks.3.1": 16,  # 64 channels
        "middle_block.1": 16,
        "output_blocks.0.1": 32,
        "output_blocks.1.1": 32,
        "output_blocks.2.1": 16,
        "output_blocks.3.1": 16,
    }


def test_timestep_embedding_is_that_of_diffusers_with_the_cosines_first() -> None:
    model, (x_t, t) = _small(), _inputs()
    seen: list[Tensor] = []
    model.time_embed.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    model(x_t, t)
    expected = get_timestep_embedding(t, SMALL.num_channels, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert_close(seen[0], expected, rtol=0, atol=1e-4)


def test_plain_samplers_halve_by_a_strided_convolution_and_double_before_one() -> None:
    model = _small(SMALL.model_copy(update={"resblock_updown": False}))
    down, up = model.input_blocks[2], model.output_blocks[1][2]
    x, emb = torch.randn(1, 32, 8, 8), torch.randn(1, 128)
    assert_close(down(x, emb), F.conv2d(x, down[0].op.weight, down[0].op.bias, stride=2, padding=1))
    x = torch.randn(1, 64, 4, 4)
    large = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert_close(up(x), F.conv2d(large, up.conv.weight, up.conv.bias, padding=1))


def test_features_are_the_output_blocks_outputs_of_a_full_forward() -> None:
    model = _small()
    seen: dict[int, Tensor] = {}
    for number, block in enumerate(model.output_blocks):
        block.register_forward_hook(lambda _m, _i, out, number=number: seen.update({number: out}))
    model(*_inputs())
    whole = dict(seen)
    found = model.features(*_inputs(), range(4))
    assert found.keys() == whole.keys() == set(range(4))
    assert all(torch.equal(found[number], whole[number]) for number in whole)
    assert [tuple(f.shape[1:]) for f in found.values()] == [(64, 8, 8), (64, 16, 16), (32, 16, 16), (32, 16, 16)]


@pytest.mark.parametrize(("blocks", "run"), [((0,), 1), ((1, 0), 2), ((1,), 2), ((2,), 3), ((3, 1), 4)])
def test_features_stop_after_the_last_block_that_is_asked_for(blocks: tuple[int, ...], run: int) -> None:
    model = _small()
    calls: Counter[str] = Counter()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_args, name=name: calls.update([name]))
    assert set(model.features(*_inputs(), blocks)) == set(blocks)
    assert {name.split(".")[1] for name in calls if name.startswith("output_blocks.")} == {str(n) for n in range(run)}
    assert all(calls[f"output_blocks.{n}"] == 1 for n in range(run))
    assert calls["middle_block"] == 1
    assert not [name for name in calls if name == "out" or name.startswith("out.")]


def test_gradients_reach_every_parameter_and_the_image() -> None:
    model, (x_t, t) = _small(), _inputs()
    x_t.requires_grad_()
    model(x_t, t).square().mean().backward()
    grads = {"x_t": x_t.grad, **{name: p.grad for name, p in model.named_parameters()}}
    assert [name for name, g in grads.items() if g is None or not g.any() or not g.isfinite().all()] == []


# The untrained control


def test_random_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = random_unet(SMALL, **SHAPE, seed=0, device=CPU).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = random_unet(SMALL, **SHAPE, seed=0, device=CPU).state_dict()
    other = random_unet(SMALL, **SHAPE, seed=1, device=CPU).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["middle_block.0.in_layers.2.weight"], other["middle_block.0.in_layers.2.weight"])


def test_random_network_uses_its_depth_and_predicts_no_noise() -> None:
    model = random_unet(SMALL, **SHAPE, seed=0, device=CPU)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    shares: dict[str, float] = {}

    def share(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor, name: str) -> None:
        skip = inputs[0]
        if isinstance(module, ResBlock):
            skip = module.skip_connection(module.resample(skip))
        shares[name] = float((out - skip).std() / out.std())

    for name, module in model.named_modules():
        if isinstance(module, ResBlock | Attention):
            module.register_forward_hook(lambda m, i, o, name=name: share(m, i, o, name))
    assert not model(*_inputs()).any()
    assert len(shares) == 14
    # A branch that starts at zero has no share at all.
    assert {name: s for name, s in shares.items() if not s > 0.01} == {}
