"""The outputs of modules by name, against hooks of the test's own and our U-Net's numbered features."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn

from search_spaces.presets import quick
from trainables.config import apply
from trainables.own_parts import PartError
from trainables.sections import Pretrained
from trainables.unet.guided_diffusion import GuidedUNet
from trainables.unet.module_outputs import module_outputs, named_modules
from trainables.unet.unet import UNet

SMALL = {"unet.base_channels": 8, "unet.channel_mults": (1, 2, 2), "unet.attention_resolutions": (4,)}
NUMBERS = (5, 6, 7)  # of its up blocks


class Net(nn.Module):
    """Two stages of two convolutions, and outputs of other kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 5, 1))
        self.second = nn.ModuleList([nn.Conv2d(5, 4, 2, stride=2), nn.Conv2d(4, 2, 1)])
        self.pair, self.flat, self.wide = Pair(), nn.Flatten(), nn.AdaptiveAvgPool2d((2, 1))
        self.idle, self.named, self.last = nn.Conv2d(1, 1, 1), Named(), Failing()

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        h = self.first(x_t)
        for convolution in self.second:
            h = convolution(h)
        h = self.second[1](h[:, :1].expand(-1, 4, -1, -1)).relu_()  # a second time, and in place
        self.pair(h), self.flat(h), self.wide(h), self.named(h)
        return self.last(h)


class Pair(nn.Module):
    def forward(self, h: Tensor) -> tuple[Tensor, str]:
        return h + 1, "more"


class Named(nn.Module):
    def forward(self, h: Tensor) -> dict[str, Tensor]:
        return {"h": h}


class Failing(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        raise AssertionError("what comes after the last module that was asked for is not called")


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval().requires_grad_(False)


X, T = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 700])


def hooked(network: nn.Module, name: str) -> Tensor:
    """The module's first output, as a hook of the test's own sees it."""
    seen: list[Tensor] = []
    handle = network.get_submodule(name).register_forward_hook(lambda m, i, output: seen.append(output.clone()))
    try:
        network(X, T)
    except AssertionError:
        pass
    finally:
        handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", ["first", "first.0", "second.0", "second.1"])
def test_an_output_is_what_a_hook_sees_at_the_modules_first_call(net: Net, name: str) -> None:
    (found,) = module_outputs(net, [name], X, T).values()
    assert torch.equal(found, hooked(net, name))


def test_outputs_are_in_the_order_of_the_patterns_then_of_the_network(net: Net) -> None:
    assert list(module_outputs(net, ["second.*", "first.*", "second.0"], X, T)) == [
        *("second.0", "second.1", "first.0", "first.1"),
    ]
    assert list(module_outputs(net, ["first.1", "first.0"], X, T)) == ["first.1", "first.0"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("first", ["first"]),  # and nothing inside it
        ("*.0", ["first.0", "second.0"]),
        ("s*.1", ["second.1"]),
        ("*st", ["first", "last"]),
        ("*", ["first", "second", "pair", "flat", "wide", "idle", "named", "last"]),
    ],
)
def test_a_star_stands_for_anything_but_a_dot(net: Net, pattern: str, names: list[str]) -> None:
    assert named_modules(net, [pattern]) == names


def test_a_dot_stands_for_itself() -> None:
    with pytest.raises(PartError, match=r"no module a\.b; at its top are aXb$"):
        named_modules(nn.ModuleDict({"aXb": nn.Identity()}), ["a.b"])


def test_of_several_outputs_the_first_is_taken(net: Net) -> None:
    output = module_outputs(net, ["pair"], X, T)["pair"]
    assert output.shape == (2, 2, 4, 4) and float(output.min()) >= 1


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("firts", "the network has no module firts; at its top are first, second, pair, flat, wide, idle, named, last"),
        ("first.2", "the network has no module first.2; at its top are"),
        ("idle", "the network's forward does not call its module idle"),
        ("second", "the network's forward does not call its module second"),  # a list is not called
        ("flat", "the module flat puts out (2, 32), not square maps (B, C, h, h)"),
        ("wide", "the module wide puts out (2, 2, 2, 1), not square maps (B, C, h, h)"),
        ("named", "the module named puts out dict, not square maps (B, C, h, h)"),
    ],
)
def test_what_gives_no_maps_is_refused(net: Net, pattern: str, says: str) -> None:
    net.last = nn.Identity()
    with pytest.raises(PartError) as caught:
        module_outputs(net, [pattern], X, T)
    assert str(caught.value).startswith(f"segmentation.blocks: {says}")


def test_no_hook_is_left_behind(net: Net) -> None:
    for patterns in (["first.*"], ["flat"]):
        with contextlib.suppress(PartError):
            module_outputs(net, patterns, X, T)
        assert not any(module._forward_hooks for module in net.modules())


def unet() -> UNet:
    torch.manual_seed(0)
    config = apply(quick(), SMALL | {"segmentation.blocks": NUMBERS})
    return UNet(config.unet, 1, 8).eval().requires_grad_(False)


@pytest.mark.parametrize("numbers", [(5,), (6, 7), (7, 5)])
def test_our_unets_outputs_by_name_are_those_by_number(numbers: tuple[int, ...]) -> None:
    network = unet()
    by_number = network.features(X, T, numbers)
    assert list(by_number) == list(numbers)
    by_name = network.features(X, T, [f"upsample.{number - 5}" for number in numbers])
    mixed = network.features(X, T, [numbers[0], *(f"upsample.{number - 5}" for number in numbers[1:])])
    for found in (by_name, mixed):
        for one, other in zip(by_number.values(), found.values(), strict=True):
            assert torch.equal(one, other)


def test_all_up_blocks_by_one_pattern() -> None:
    network = unet()
    found = network.features(X, T, ["upsample.*"]).values()
    assert all(map(torch.equal, found, network.features(X, T, NUMBERS).values()))
    assert len(found) == 3


def test_guided_diffusions_outputs_by_name_are_those_by_number() -> None:
    torch.manual_seed(0)
    settings = Pretrained(num_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(4,),
                          num_head_channels=32)  # fmt: skip
    network = GuidedUNet(settings, 3, 8).eval().requires_grad_(False)
    x_t = X.expand(-1, 3, -1, -1)
    by_number = network.features(x_t, T, (3, 1))
    by_name = network.features(x_t, T, ("output_blocks.3", "output_blocks.1"))
    assert list(by_number) == [3, 1] and list(by_name) == ["output_blocks.3", "output_blocks.1"]
    assert all(map(torch.equal, by_number.values(), by_name.values()))
