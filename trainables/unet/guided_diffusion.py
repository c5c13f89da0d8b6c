"""guided-diffusion's U-Net under that project's own names, so that its checkpoints load key by key.

Neither the heads of an attention nor the order of its channels changes a key or a shape: a checkpoint does not tell
them, and with others than it was trained with its features are wrong in silence.

B batch, C channels, H and W pixels, E the channels of the timestep's embedding.

Source: Dhariwal & Nichol 2021 (arXiv:2105.05233), section 3; the keys are those of openai/guided-diffusion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.randomness import derived_seed
from trainables.sections import Pretrained
from trainables.unet.blocks import timestep_embedding
from trainables.unet.module_outputs import module_outputs
from trainables.unet.unet import Upsample

NORM_GROUPS = 32


class ResBlock(nn.Module):
    """norm, SiLU, 3x3 convolution, twice, and a skip; `resample` changes the size of both before a convolution.

    Args:
        resample: a module without weights.
    """

    def __init__(self, in_channels: int, out_channels: int, settings: Pretrained, resample: nn.Module) -> None:
        super().__init__()
        self.scale_shift = settings.use_scale_shift_norm
        timed = 2 * out_channels if self.scale_shift else out_channels
        self.resample = resample
        self.in_layers = nn.Sequential(_norm(in_channels), nn.SiLU(), _conv(in_channels, out_channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * settings.num_channels, timed))
        # The keys count a dropout in the third place; without training it does nothing.
        self.out_layers = nn.Sequential(
            _norm(out_channels), nn.SiLU(), nn.Identity(), _conv(out_channels, out_channels)
        )
        self.skip_connection = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, silu, conv = self.in_layers
        h = conv(self.resample(silu(norm(x))))
        norm, silu, _, conv = self.out_layers
        timed = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = timed.chunk(2, dim=1)
            h = torch.addcmul(shift, norm(h), 1 + scale)
        else:
            h = norm(h + timed)
        return self.skip_connection(self.resample(x)) + conv(silu(h))


class Attention(nn.Module):
    """Multi-head self-attention over the pixels of (B, C, H, W), with a norm before it and a skip.

    The channels of `qkv` are counted by head, then query, key and value; in the project's new order, as in that of
    `blocks.Attention`, by query, key and value, then head.

    Args:
        upward: whether it is of an output block, which may have heads of its own number.
    """

    def __init__(self, channels: int, settings: Pretrained, upward: bool = False) -> None:
        super().__init__()
        self.head_channels, self.new_order = settings.num_head_channels, settings.use_new_attention_order
        if self.head_channels == -1:
            heads = settings.num_heads_upsample if upward and settings.num_heads_upsample else settings.num_heads
            assert heads is not None, "a config with neither is refused"
            self.head_channels = channels // heads
        self.norm = _norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x).flatten(2))
        if self.new_order:
            qkv = qkv.unflatten(1, (3, -1, self.head_channels)).transpose(1, 2)
        else:
            qkv = qkv.unflatten(1, (-1, 3, self.head_channels))
        # The fused kernels want a head's channels side by side.
        q, k, v = qkv.transpose(3, 4).contiguous().unbind(2)  # each (B, heads, HW, C / heads)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.transpose(2, 3).flatten(1, 2)).reshape(x.shape)


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Block(nn.ModuleList):
    """Layers one after the other, some of which take the timestep's embedding."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class GuidedUNet(nn.Module):
    """Predicts eps, and with `learn_sigma` what its variance follows from, from (x_t, t).

    Args:
        image_channels: 1 or 3.
        image_size: pixels of a side; it decides where the attention is. A checkpoint's attention is where it was in
            training: for images of half the size, `attention_resolutions` halve too.
    """

    def __init__(self, settings: Pretrained, image_channels: int, image_size: int) -> None:
        super().__init__()
        self.num_channels, emb_channels = settings.num_channels, 4 * settings.num_channels
        outputs = 2 * image_channels if settings.learn_sigma else image_channels
        self.time_embed = nn.Sequential(
            nn.Linear(settings.num_channels, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels)
        )
        down, skips = _input_blocks(settings, image_channels, image_size)
        c = skips[-1]
        self.input_blocks = nn.ModuleList(down)
        self.middle_block = Block([_res(c, c, settings), Attention(c, settings), _res(c, c, settings)])
        self.output_blocks = nn.ModuleList(_output_blocks(settings, skips, image_size))
        self.out = nn.Sequential(_norm(skips[0]), nn.SiLU(), _conv(skips[0], outputs))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The network's whole output: the predicted noise, (B, C, H, W), or that and as many channels again.

        Args:
            x_t: noisy images, (B, C, H, W).
            t: timesteps, (B,).
        """
        [(_, h)] = deque(self._output_blocks(x_t, t), maxlen=1)
        return self.out(h)

    def features(self, x_t: Tensor, t: Tensor, blocks: Sequence[int | str]) -> dict[int | str, Tensor]:
        """The outputs of output blocks, counted from 0, or of modules by name, each (B, C, h, w); stops after the last.

        They are in the order of `blocks`.

        Raises:
            PartError: a name that is none of a module, or of one that puts out no maps.
        """
        if any(isinstance(block, str) for block in blocks):
            patterns = [block if isinstance(block, str) else f"output_blocks.{block}" for block in blocks]
            return module_outputs(self, patterns, x_t, t)
        wanted, found = set(blocks), dict[int | str, Tensor]()
        for number, h in self._output_blocks(x_t, t):
            if number in wanted:
                found[number] = h
            if len(found) == len(wanted):
                break
        return {block: found[block] for block in blocks}

    def _output_blocks(self, x_t: Tensor, t: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each output block's number and output, computed as they are asked for."""
        # Here the cosines come first.
        emb = self.time_embed(timestep_embedding(t, self.num_channels).roll(self.num_channels // 2, dims=1))
        h, skips = x_t, []
        for block in self.input_blocks:
            h = block(h, emb)
            skips.append(h)
        h = self.middle_block(h, emb)
        for number, block in enumerate(self.output_blocks):
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
            yield number, h


def random_unet(
    settings: Pretrained, image_channels: int, image_size: int, seed: int, device: torch.device
) -> GuidedUNet:
    """The untrained control: the same network with initial weights, which depend on the seed alone.

    All layers start as torch starts them but the last convolution, which is zero as in `unet.UNet`. guided-diffusion
    starts the last layer of every residual and attention branch at zero too: features would then come from the
    convolutions between the branches alone, a network without its depth, and be too weak a control.

    Args:
        seed: of the trial.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "init"))
        model = GuidedUNet(settings, image_channels, image_size)
    for parameter in model.out[-1].parameters():
        nn.init.zeros_(parameter)
    return model.to(device).to(memory_format=torch.channels_last).requires_grad_(False).eval()


def _input_blocks(settings: Pretrained, image_channels: int, image_size: int) -> tuple[list[Block], list[int]]:
    """The way down, and the channels that each block puts out."""
    widths = [settings.num_channels * mult for mult in settings.channel_mult]
    blocks, channels = [Block([_conv(image_channels, widths[0])])], [widths[0]]
    for level, width in enumerate(widths):
        for _ in range(settings.num_res_blocks):
            blocks.append(Block([_res(channels[-1], width, settings), *_attention(level, width, settings, image_size)]))
            channels.append(width)
        if level < len(widths) - 1:
            halve = ResBlock(width, width, settings, nn.AvgPool2d(2)) if settings.resblock_updown else Downsample(width)
            blocks.append(Block([halve]))
            channels.append(width)
    return blocks, channels


def _output_blocks(settings: Pretrained, skips: list[int], image_size: int) -> Iterator[Block]:
    """The way up, each block after the concatenation with one of `skips`, the last first."""
    remaining, c = list(skips), skips[-1]
    for level, mult in reversed(list(enumerate(settings.channel_mult))):
        width = settings.num_channels * mult
        for i in range(settings.num_res_blocks + 1):
            attention = _attention(level, width, settings, image_size, upward=True)
            block = Block([_res(c + remaining.pop(), width, settings), *attention])
            if level and i == settings.num_res_blocks:
                double = nn.Upsample(scale_factor=2.0, mode="nearest")
                updown = settings.resblock_updown
                block.append(ResBlock(width, width, settings, double) if updown else Upsample(width, width))
            yield block
            c = width


def _res(in_channels: int, out_channels: int, settings: Pretrained) -> ResBlock:
    return ResBlock(in_channels, out_channels, settings, nn.Identity())


def _attention(
    level: int, channels: int, settings: Pretrained, image_size: int, upward: bool = False
) -> list[Attention]:
    return [Attention(channels, settings, upward)] if image_size // 2**level in settings.attention_resolutions else []


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(NORM_GROUPS, channels)


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)
