"""The U-Net's parts against torch's and diffusers' own, and against their formulas written out."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers.models.attention_processor import Attention as DiffusersAttention
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.own_parts import PartError
from trainables.sections import UNet
from trainables.unet.blocks import (
    AdaGN,
    Attention,
    ConvNeXtBlock,
    GroupNorm,
    ResNetBlock,
    block,
    timestep_embedding,
)

BLOCKS = [ResNetBlock, ConvNeXtBlock]
EMB = 12


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _randomised(module: nn.Module) -> nn.Module:
    """No weight at a special value: a norm's 1 and a bias's 0 would hide that they are not used."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


class Ops(TorchDispatchMode):
    """Counts the operations that reach the dispatcher, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [8, 64])
def test_timestep_embedding_is_that_of_diffusers(channels: int) -> None:
    t = torch.tensor([0, 1, 500, 999])
    theirs = get_timestep_embedding(t, channels, flip_sin_to_cos=False, downscale_freq_shift=0)
    assert_close(timestep_embedding(t, channels), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_that_of_torch(heads: int) -> None:
    channels = 16
    attention = _randomised(Attention(channels, UNet(norm_groups=4, attention_heads=heads)))
    x = torch.randn(2, channels, 3, 5)
    sequence = attention.norm(x).flatten(2).permute(2, 0, 1)  # (HW, B, C)
    expected, _ = F.multi_head_attention_forward(
        sequence,
        sequence,
        sequence,
        embed_dim_to_check=channels,
        num_heads=heads,
        in_proj_weight=attention.qkv.weight[:, :, 0, 0],
        in_proj_bias=attention.qkv.bias,
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=attention.project.weight[:, :, 0, 0],
        out_proj_bias=attention.project.bias,
        need_weights=False,
    )
    assert_close(attention(x), x + expected.permute(1, 2, 0).reshape(x.shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_with_normed_queries_and_keys_is_that_of_diffusers(heads: int) -> None:
    channels = 16
    ours = _randomised(Attention(channels, UNet(norm_groups=4, attention_heads=heads, qk_norm=True)))
    theirs = DiffusersAttention(
        channels, heads=heads, dim_head=channels // heads, bias=True, qk_norm="layer_norm", residual_connection=True
    )
    weight, bias = ours.qkv.weight[:, :, 0, 0].chunk(3), ours.qkv.bias.chunk(3)
    with torch.no_grad():
        for i, linear in enumerate((theirs.to_q, theirs.to_k, theirs.to_v)):
            linear.weight.copy_(weight[i]), linear.bias.copy_(bias[i])
        theirs.to_out[0].weight.copy_(ours.project.weight[:, :, 0, 0]), theirs.to_out[0].bias.copy_(ours.project.bias)
        theirs.norm_q.weight.copy_(ours.norm_q.weight), theirs.norm_k.weight.copy_(ours.norm_k.weight)
    x = torch.randn(2, channels, 3, 5)
    expected = theirs(ours.norm(x).flatten(2).transpose(1, 2)) - ours.norm(x).flatten(2).transpose(1, 2)
    assert_close(ours(x), x + expected.transpose(1, 2).reshape(x.shape), rtol=1e-4, atol=1e-4)


def test_attention_with_normed_queries_and_keys_runs_in_bf16() -> None:
    attention, x = _randomised(Attention(16, UNet(qk_norm=True))), torch.randn(2, 16, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = attention(x)
    assert_close(low.float(), attention(x), rtol=0.1, atol=0.1)


def test_without_a_norm_of_queries_and_keys_there_is_no_parameter_more() -> None:
    plain, normed = (set(Attention(16, UNet(qk_norm=on)).state_dict()) for on in (False, True))
    assert normed - plain == {"norm_q.weight", "norm_k.weight"}
    assert plain == {f"{m}.{p}" for m in ("norm", "qkv", "project") for p in ("weight", "bias")}


def test_group_norm_adds_the_timestep_before_the_norm() -> None:
    norm = _randomised(GroupNorm(4, 8, EMB))
    h, emb = torch.randn(3, 8, 5, 5), torch.randn(3, EMB)
    added = F.linear(emb, norm.emb.weight, norm.emb.bias)[:, :, None, None]
    assert_close(norm(h, emb), F.group_norm(h + added, 4, norm.norm.weight, norm.norm.bias))


def test_adagn_scales_and_shifts_after_the_norm() -> None:
    norm = _randomised(AdaGN(4, 8, EMB))
    h, emb = torch.randn(3, 8, 5, 5), torch.randn(3, EMB)
    from_timestep = F.linear(emb, norm.emb.weight, norm.emb.bias)
    scale, shift = from_timestep[:, :8, None, None], from_timestep[:, 8:, None, None]
    assert_close(norm(h, emb), F.group_norm(h, 4, norm.norm.weight, norm.norm.bias) * (1 + scale) + shift)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 8), (8, 16), (24, 8)])
def test_resnet_block_written_out(in_channels: int, out_channels: int) -> None:
    block = _randomised(ResNetBlock(in_channels, out_channels, EMB, UNet(norm_groups=8)))
    x, emb = torch.randn(2, in_channels, 6, 6), torch.randn(2, EMB)
    h = F.group_norm(x, 8, block.norm_1.weight, block.norm_1.bias)
    h = F.conv2d(F.silu(h), block.conv_1.weight, block.conv_1.bias, padding=1)
    h = h + (emb @ block.norm_2.emb.weight.T + block.norm_2.emb.bias)[:, :, None, None]
    h = F.group_norm(h, 8, block.norm_2.norm.weight, block.norm_2.norm.bias)
    h = F.conv2d(F.silu(h), block.conv_2.weight, block.conv_2.bias, padding=1)
    skip = x if in_channels == out_channels else F.conv2d(x, block.skip.weight, block.skip.bias)
    assert_close(block(x, emb), h + skip)


def test_convnext_has_one_norm_one_gelu_a_7x7_depthwise_and_expansion_2() -> None:
    block = ConvNeXtBlock(8, 16, EMB, UNet())
    with Ops() as ops:
        block(torch.randn(1, 8, 8, 8), torch.randn(1, EMB))
    assert {name: ops.seen[name] for name in ("native_group_norm", "gelu", "convolution")} == {
        "native_group_norm": 1,
        "gelu": 1,
        "convolution": 4,  # depthwise, expand, project, skip
    }
    assert not {"silu", "relu", "native_layer_norm", "native_batch_norm"} & set(ops.seen)
    assert (block.depthwise.kernel_size, block.depthwise.groups, block.depthwise.in_channels) == ((7, 7), 8, 8)
    assert (block.norm.norm.num_groups, block.norm.norm.num_channels) == (1, 8)
    assert (block.expand.out_channels, block.project.in_channels) == (2 * 16, 2 * 16)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 8), (24, 8)])
def test_convnext_block_written_out(in_channels: int, out_channels: int) -> None:
    block = _randomised(ConvNeXtBlock(in_channels, out_channels, EMB, UNet(convnext_expansion=3)))
    x, emb = torch.randn(2, in_channels, 9, 9), torch.randn(2, EMB)
    h = F.conv2d(x, block.depthwise.weight, block.depthwise.bias, padding=3, groups=in_channels)
    h = h + (emb @ block.norm.emb.weight.T + block.norm.emb.bias)[:, :, None, None]
    mean, variance = h.mean((1, 2, 3), keepdim=True), h.var((1, 2, 3), keepdim=True, unbiased=False)
    h = (h - mean) / (variance + 1e-5).sqrt()
    h = h * block.norm.norm.weight[:, None, None] + block.norm.norm.bias[:, None, None]
    h = torch.einsum("oi,bihw->bohw", block.expand.weight[:, :, 0, 0], h) + block.expand.bias[:, None, None]
    h = 0.5 * h * (1 + torch.erf(h / 2**0.5))
    h = torch.einsum("oi,bihw->bohw", block.project.weight[:, :, 0, 0], h) + block.project.bias[:, None, None]
    skip = x if in_channels == out_channels else F.conv2d(x, block.skip.weight, block.skip.bias)
    assert block.expand.out_channels == 3 * out_channels
    assert_close(block(x, emb), h + skip, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("norm", "kind"), [("group", GroupNorm), ("adagn", AdaGN)])
def test_blocks_take_the_norm_that_the_config_names(block: type, norm: str, kind: type) -> None:
    found = [m for m in block(8, 16, EMB, UNet(norm=norm)).modules() if hasattr(m, "emb")]
    assert [type(m) for m in found] == [kind]


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_mind_the_timestep(block: type) -> None:
    module = _randomised(block(8, 8, EMB, UNet()))
    x = torch.randn(1, 8, 6, 6)
    assert not torch.allclose(module(x, torch.zeros(1, EMB)), module(x, torch.ones(1, EMB)))


@pytest.mark.parametrize("block", BLOCKS)
def test_dropout_acts_in_training_alone(block: type) -> None:
    module = block(8, 8, EMB, UNet(dropout=0.5))
    x, emb = torch.randn(1, 8, 6, 6), torch.randn(1, EMB)

    def differs() -> bool:
        one: Tensor = module(x, emb)
        return not torch.equal(one, module(x, emb))

    assert differs()
    module.eval()
    assert not differs()


WRONG = {
    "Half": ("x[:, :, ::2, ::2]", r"own\.py:Half: must put out \(1, 8, 8, 8\), not \(1, 8, 4, 4\)"),
    "Fewer": ("x[:, :1]", r"own\.py:Fewer: must put out \(1, 8, 8, 8\), not \(1, 1, 8, 8\)"),
    "Two": ("(x, x)", r"own\.py:Two: must put out \(1, 8, 8, 8\), not tuple"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_block_of_ones_own_says_itself_that_its_output_is_of_another_shape(name, own_folder):
    returned, said = WRONG[name]
    made = "def __init__(self, i, o, e, unet):\n        super().__init__()"
    body = f"{made}\n\n    def forward(self, x, emb):\n        return {returned}"
    (own_folder / "own.py").write_text(f"from torch import nn\n\n\nclass {name}(nn.Module):\n    {body}\n")
    part = block(UNet(block=f"own.py:{name}"), 8, 8, 16)
    with pytest.raises(PartError, match=said):
        part(torch.zeros(1, 8, 8, 8), torch.zeros(1, 16))
