"""Numbers that are none are told where they arise: a cast, a clamp or an argmax would wash them away."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Diverged(RuntimeError):
    """A value is no longer finite; another try would end the same."""


def check_finite(values: Iterable[Tensor], what: str) -> None:
    """Passes if every value is finite; on a GPU this waits once.

    Args:
        what: they are, in words.

    Raises:
        Diverged: one is not.
    """
    finite = [torch.isfinite(v).all() for v in values if v.is_floating_point()]
    if finite and not bool(torch.stack(finite).all()):
        raise Diverged(f"{what} not finite")


def check_weights(network: nn.Module, what: str) -> None:
    """Passes if every weight and running mean is finite.

    Raises:
        Diverged: one is not.
    """
    check_finite(network.state_dict().values(), f"{what} has weights that are")
