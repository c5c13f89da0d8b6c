"""The two forms of an image."""

from __future__ import annotations

import torch

from trainables.images import to_uint8, to_unit

ALL = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_every_value_comes_back() -> None:
    assert torch.equal(to_uint8(to_unit(ALL)), ALL)


def test_range_and_order() -> None:
    unit = to_unit(ALL).flatten()
    assert unit.dtype == torch.float32
    assert (unit[0], unit[-1]) == (-1, 1)
    assert (unit.diff() > 0).all()


def test_what_is_outside_is_clipped_and_not_wrapped() -> None:
    assert to_uint8(torch.tensor([-9.0, -1.001, 1.001, 9.0])).tolist() == [0, 0, 255, 255]


def test_rounds_to_the_nearest() -> None:
    just_below_100 = (torch.tensor([99.6, 100.4]) / 127.5) - 1
    assert to_uint8(just_below_100).tolist() == [100, 100]
