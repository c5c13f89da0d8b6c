"""The network of `fd_dinov2`: DINOv2's ViT-L/14 as published, on uint8 images that are in memory.

Source: Oquab et al. 2023 (arXiv:2304.07193), the network; Stein et al. 2023 (arXiv:2306.04675), its class token as the
features of a Frechet distance, and the repository dgm-eval, from which the resizing is taken.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from trainables.evaluation.fixed_network import features_of
from trainables.evaluation.published import Published
from trainables.evaluation.vision_transformer import VisionTransformer

FILE = Published(
    network="DINOv2",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    variable="ABLATION_DINOV2",
)
CHANNELS, DEPTH, HEADS, PATCH, POSITIONS = 1024, 24, 16, 14, 37  # of ViT-L/14, trained on up to 518 pixels
UNUSED = "mask_token"  # of its training; the file has it
SIDE = 224  # pixels that the network sees
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


class DINOv2:
    """The features of images by one fixed network, which takes (B, 3, 224, 224) to (B, D)."""

    def __init__(self, network: nn.Module, device: torch.device | str) -> None:
        self.network, self.device = network.to(device).eval(), torch.device(device)

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """The features of the images, (N, D) float64; D is 1024 for the published network.

        They are computed in float32, on a GPU too.

        Args:
            images: uint8, (N, 1, H, W) or (N, 3, H, W), on any device; grey ones are repeated in the three channels.

        Raises:
            ValueError: images of another type or shape.
        """
        return features_of(images, lambda batch: self.network(seen(batch).to(self.device)))


def seen(images: Tensor) -> Tensor:
    """What the network sees of images: resized by Pillow's bicubic filter, in bytes, and normed; (B, 3, 224, 224).

    Args:
        images: uint8, (B, 1, H, W) or (B, 3, H, W).
    """
    channels = images.flatten(0, 1).cpu().numpy()
    sized = [np.asarray(Image.fromarray(c).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for c in channels]
    unit = torch.from_numpy(np.stack(sized)).float().div(255).unflatten(0, images.shape[:2])
    mean, sd = (torch.tensor(values)[:, None, None] for values in (MEAN, SD))
    return (unit.expand(-1, 3, -1, -1) - mean) / sd


def load(device: torch.device | str) -> DINOv2:
    """The published network on `device`.

    Raises:
        DataError: its file is not there and cannot be downloaded, or it is another file.
    """
    return DINOv2(_network(FILE.obtain()), device)


def _network(file: Path) -> VisionTransformer:
    weights = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        network = VisionTransformer(CHANNELS, DEPTH, HEADS, PATCH, POSITIONS)
    network.load_state_dict({name: w for name, w in weights.items() if name != UNUSED}, assign=True)
    return network
