"""The fixed classifier of small grey digits whose features give the metric `fid_digits`.

Its weights ship beside this file and never change under the same metric; `card.json` says how they were made and what
they reach, and `train.py` makes them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 64
INTERNAL_SIZE = 32  # pixels; every image is brought to this size first
FEATURE_SCALE = 4.0  # only a unit: it puts the distance between real and real images near 10 rather than 1
HERE = Path(__file__).parent


class DigitsClassifier(nn.Module):
    """Four convolutions, then 64 features, then ten classes. No layer depends on the other images of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),  # 16x16
            nn.GELU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),  # 8x8
            nn.Conv2d(32, 48, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),  # 4x4
            nn.Flatten(),
            nn.Linear(48 * 4 * 4, FEATURES),
        )
        # The features are taken before the GELU, where none of them can be zero for every image.
        self.head = nn.Sequential(nn.GELU(), nn.Dropout(0.2), nn.Linear(FEATURES, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the ten digits, (N, 10).

        Args:
            images: float in [-1, 1] (ink is 1), (N, 1, H, H) of any H.
        """
        return self.head(self._embed(images))

    def features(self, images: Tensor) -> Tensor:
        """Features for a Frechet distance, (N, 64): the penultimate layer's, times `FEATURE_SCALE`.

        Args:
            images: float in [-1, 1] (ink is 1), (N, 1, H, H) of any H.
        """
        return FEATURE_SCALE * self._embed(images)

    def _embed(self, images: Tensor) -> Tensor:
        size = (INTERNAL_SIZE, INTERNAL_SIZE)
        return self.body(F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True))


def load(device: torch.device | str = "cpu", folder: Path = HERE) -> DigitsClassifier:
    """The trained classifier on `device`, in eval mode and without gradients.

    Args:
        device: where it runs.
        folder: what holds `weights.safetensors` and `card.json`; by default the ones that ship with the package.

    Raises:
        ValueError: the weights are not those that the card describes.
    """
    weights = folder / "weights.safetensors"
    content = weights.read_bytes()
    expected = json.loads((folder / "card.json").read_text())["sha256"]
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{weights} is damaged: card.json gives its sha256 as {expected}, but got {found}")
    model = DigitsClassifier()
    model.load_state_dict(load_tensors(content))
    return model.to(device).eval().requires_grad_(False)
