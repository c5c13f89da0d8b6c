"""Random generators that are paired by seed: one for each purpose, none shared.

Seed k of every variant draws the same data order, the same noise and the same label split, because a generator
depends on the seed and on what it is for, and never on how much another one was used.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2^63) for one purpose, for example `derived_seed(0, "sampling", 2)`."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` that only this purpose draws from."""
    return torch.Generator(device=device).manual_seed(derived_seed(seed, *purpose))
