"""The 1,797 handwritten digits of 8x8 pixels that ship inside scikit-learn, with a mask for each.

A mask is 0 (background) where there is no ink and 1 + the digit's class where there is.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from trainables.data import About, Arrays, Examined
from trainables.sections import Data

CLASS_NAMES = ("background", *(str(digit) for digit in range(10)))
SPLIT_SEED = 20240526  # fixed: the splits are the same for every seed, study and machine
TRAIN, LABELS, HELD_OUT = slice(0, 1097), slice(1097, 1297), slice(1297, 1797)
INK = 0.35  # of full ink, at the image size


def about(data: Data, root: Path | None = None) -> About:
    """The facts of the digits: the same at every image size."""
    train, labels, held_out = (part.stop - part.start for part in (TRAIN, LABELS, HELD_OUT))
    return About(1, CLASS_NAMES, train, labels, held_out, _fingerprint())


def read(data: Data, root: Path | None = None) -> tuple[About, Arrays]:
    """Their facts, and the digits brought to `data.image_size` bilinearly, split at random once and for all."""
    # Imported here: `about` is called by dry runs, which must not wait for torch.
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch.nn import functional as F

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(pixels))
    ink = torch.from_numpy(pixels[order]).float().reshape(-1, 1, 8, 8) / 16
    ink = F.interpolate(ink, size=data.image_size, mode="bilinear", align_corners=False)
    images = (ink * 255).round().to(torch.uint8).numpy()
    label = torch.from_numpy(digits[order] + 1).to(torch.uint8)[:, None, None]
    masks = torch.where(ink[:, 0] > INK, label, torch.zeros_like(label)).numpy()
    splits = Arrays(images[TRAIN], images[LABELS], masks[LABELS], images[HELD_OUT], masks[HELD_OUT])
    return about(data, root), splits


def examine(data: Data, root: Path | None, images: bool) -> Examined:
    """Their facts: they are always the same, so nobody waits for torch and scikit-learn to look at them."""
    return Examined(about(data, root), None)


def _fingerprint() -> str:
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None, "scikit-learn is a dependency of this package"
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return hashlib.sha256(path.read_bytes() + f"{SPLIT_SEED} {INK}".encode()).hexdigest()
