"""What every block must do: keep the pixels, change the channels, heed the timestep, and learn in all its parts."""

import pytest
import torch
from my_block import ReluBlock

from trainables.sections import UNet


@pytest.mark.parametrize(("in_channels", "out_channels"), [(16, 16), (24, 16)])
def test_it_keeps_the_pixels_and_learns_in_all_its_parts(in_channels: int, out_channels: int) -> None:
    """The output has the pixels of the input, and a gradient reaches every parameter."""
    block = ReluBlock(in_channels, out_channels, 32, UNet())
    output = block(torch.randn(2, in_channels, 8, 8), torch.randn(2, 32))
    assert output.shape == (2, out_channels, 8, 8)
    output.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())


def test_it_heeds_the_timestep() -> None:
    """The same image at another timestep has another output."""
    block, x = ReluBlock(16, 16, 32, UNet()), torch.randn(1, 16, 8, 8)
    assert not torch.equal(block(x, torch.zeros(1, 32)), block(x, torch.ones(1, 32)))
