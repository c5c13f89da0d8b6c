"""The network of `fid` and `kid`: the Inception that clean-fid uses, on uint8 images that are in memory.

Source: Parmar et al. 2022 (arXiv:2104.11222), its "clean" mode; the package clean-fid.
"""

from __future__ import annotations

import hashlib
import warnings
from functools import cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from trainables.evaluation.fixed_network import features_of
from trainables.evaluation.published import Published

FILE = Published(
    network="Inception",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    variable="ABLATION_INCEPTION",
)
SIDE = 299  # pixels that the network sees


class Inception:
    """The features of images by one fixed network.

    Args:
        network: its `layers` take (B, 3, 299, 299) in [-1, 1) to D features each.
        device: where it runs.
        fingerprint: the SHA-256 of the file that it came from; without one, that of its tensors.
    """

    def __init__(self, network: nn.Module, device: torch.device | str, fingerprint: str | None = None) -> None:
        network = network.to(device).eval()
        self.device = torch.device(device)
        self.fingerprint = fingerprint or _of_tensors(network)
        self._layers = cast(nn.Module, network.layers)

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """The features of the images, (N, D) float64; D is 2048 for the published network.

        They are computed in float32, on a GPU too, where convolutions would by default be in TF32.

        Args:
            images: uint8, (N, 1, H, W) or (N, 3, H, W), on any device; grey ones are repeated in the three channels.

        Raises:
            ValueError: images of another type or shape.
        """
        return features_of(images, self._forward)

    def _forward(self, images: Tensor) -> Tensor:
        x = (resized(images.to(self.device)) - 128) / 128
        features: Tensor = self._layers(x.expand(-1, 3, -1, -1).contiguous())
        return features.flatten(1)


def load(device: torch.device | str) -> Inception:
    """The published network on `device`.

    Raises:
        DataError: its file is not there and cannot be downloaded, or it is another file.
    """
    path = FILE.obtain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch would have another format; it is published in this one
        network = torch.jit.load(path, map_location=device)
    return Inception(network, device, FILE.sha256)


def resized(images: Tensor) -> Tensor:
    """The images at 299x299 as clean-fid's "clean" mode has them: bicubic by Pillow on floats, clipped, not rounded.

    A resize is linear in the rows and in the columns, so it is two products with fixed matrices.

    Args:
        images: uint8, (B, C, H, W).

    Returns:
        float32 in [0, 255], (B, C, 299, 299).
    """
    down, across = (_filter(side).to(images.device) for side in images.shape[-2:])
    return (down @ images.float() @ across.T).clamp(0, 255)


@cache
def _filter(side: int) -> Tensor:
    """Pillow's bicubic filter as a matrix, (299, side): what it makes of the unit vectors."""
    unit = Image.fromarray(np.eye(side, dtype=np.float32))
    return torch.from_numpy(np.array(unit.resize((side, SIDE), Image.Resampling.BICUBIC)))


def _of_tensors(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
