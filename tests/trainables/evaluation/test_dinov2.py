"""DINOv2: what its network sees, what it computes, and how its file is loaded.

The published weights are not here: a smaller network with random weights and the same names stands in for them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

from trainables.data import DataError
from trainables.evaluation import dinov2, fid, fixed_network
from trainables.evaluation.dinov2 import DINOv2, seen
from trainables.evaluation.frechet import frechet_distance, moments
from trainables.evaluation.measures import How
from trainables.evaluation.vision_transformer import VisionTransformer

SMALL = {"CHANNELS": 32, "DEPTH": 2, "HEADS": 4}


def _network() -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(32, 2, 4, dinov2.PATCH, dinov2.POSITIONS)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in as the published file is: weights by name, with one that only training needs."""
    path = tmp_path / dinov2.FILE.name
    torch.save({**_network().state_dict(), "mask_token": torch.zeros(1, 32)}, path)
    monkeypatch.setenv(dinov2.FILE.variable, str(path))
    monkeypatch.setattr(dinov2, "FILE", replace(dinov2.FILE, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    for name, value in SMALL.items():
        monkeypatch.setattr(dinov2, name, value)
    return path


def _images(count: int, channels: int, size: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, channels, size, size), generator=torch.Generator().manual_seed(seed)).byte()


@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 32), (3, 300)])
def test_what_is_seen_is_what_torchvision_makes_of_the_images_files(channels: int, size: int) -> None:
    # As the repository of Stein et al. 2023 has it.
    expected = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    images = _images(3, channels, size)
    files = [Image.fromarray(image.squeeze()) for image in images.numpy().transpose(0, 2, 3, 1)]
    found, wanted = seen(images), torch.stack([expected(file.convert("RGB")) for file in files])
    assert found.shape == (3, 3, 224, 224) and found.dtype == torch.float32
    assert float((found - wanted).abs().max()) < 1e-6


def _by_torch(network: VisionTransformer, images: Tensor) -> Tensor:
    """The same with torch's own encoder: a scale after a linear layer is one of its weights and its bias."""
    state, width = network.state_dict(), network.norm.normalized_shape[0]
    patches = F.unfold(images, dinov2.PATCH, stride=dinov2.PATCH).transpose(1, 2)
    embedded = patches @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    x = torch.cat([state["cls_token"].expand(len(images), -1, -1), embedded], 1)
    side = images.shape[-1] // dinov2.PATCH
    x = x + (state["pos_embed"] if side == dinov2.POSITIONS else _scaled(state["pos_embed"], side))
    for i in range(len(network.blocks)):
        own = {n.removeprefix(f"blocks.{i}."): w for n, w in state.items() if n.startswith(f"blocks.{i}.")}
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True
        ).eval()
        after, last = own["ls1.gamma"], own["ls2.gamma"]
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": own["attn.qkv.weight"],
                "self_attn.in_proj_bias": own["attn.qkv.bias"],
                "self_attn.out_proj.weight": own["attn.proj.weight"] * after[:, None],
                "self_attn.out_proj.bias": own["attn.proj.bias"] * after,
                "linear1.weight": own["mlp.fc1.weight"],
                "linear1.bias": own["mlp.fc1.bias"],
                "linear2.weight": own["mlp.fc2.weight"] * last[:, None],
                "linear2.bias": own["mlp.fc2.bias"] * last,
                **{name: own[name] for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias")},
            }
        )
        x = layer(x)
    return F.layer_norm(x[:, 0], (width,), state["norm.weight"], state["norm.bias"], 1e-6)


def _scaled(positions: Tensor, side: int) -> Tensor:
    """Bicubic with a = -0.75, each weight written out; the grid's step is 37 / (side + 0.1)."""
    grid = positions[0, 1:].unflatten(0, (37, 37)).double()
    step = 37 / (side + 0.1)
    matrix = torch.zeros(side, 37, dtype=torch.float64)
    for i in range(side):
        at = (i + 0.5) * step - 0.5
        first = int(np.floor(at))
        for tap in range(first - 1, first + 3):
            d, a = abs(at - tap), -0.75
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            matrix[i, min(max(tap, 0), 36)] += near if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    mixed = torch.einsum("ip,jq,pqc->ijc", matrix, matrix, grid).float()
    return torch.cat([positions[:, :1], mixed.flatten(0, 1)[None]], 1)


@pytest.mark.parametrize("size", [224, 518, 98])
@torch.no_grad()
def test_the_network_is_torchs_encoder_with_scales_after_each_part(size: int) -> None:
    network, images = _network(), torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    found = network(images)
    assert found.shape == (2, 32) and found.std() > 0.1
    assert found.numpy() == pytest.approx(_by_torch(network, images).numpy(), abs=2e-4)


def test_it_has_the_published_networks_size() -> None:
    with torch.device("meta"):
        network = VisionTransformer(dinov2.CHANNELS, dinov2.DEPTH, dinov2.HEADS, dinov2.PATCH, dinov2.POSITIONS)
    # Of 1,217,586,395 bytes the weights are these, the mask's token, and what names them.
    assert 4 * (sum(p.numel() for p in network.parameters()) + 1024) == pytest.approx(1_217_586_395, rel=1e-3)


def test_loads_what_was_published_and_gives_each_images_features(published: Path) -> None:
    images = _images(5, 1, 16)
    found = dinov2.load("cpu").features(images)
    assert found.shape == (5, 32) and found.dtype == np.float64
    with torch.no_grad():
        assert found == pytest.approx(_network()(seen(images)).double().numpy(), abs=1e-5)


def test_batches_and_order_do_not_matter(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, network = _images(7, 3, 16), dinov2.load("cpu")
    expected = network.features(images)
    monkeypatch.setattr(fixed_network, "BATCH", 3)
    assert network.features(images.flip(0))[::-1] == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


def test_other_weights_are_refused(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dinov2, "FILE", replace(dinov2.FILE, sha256="0" * 64))
    with pytest.raises(DataError, match="is not the published DINOv2 network"):
        dinov2.load("cpu")


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 16, 16), torch.zeros(2, 4, 16, 16, dtype=torch.uint8)], ids=str)
def test_other_images_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        DINOv2(_network(), "cpu").features(images)


def test_fd_dinov2_is_the_frechet_distance_of_its_features(published: Path) -> None:
    how, (real, samples) = How(0, 5, torch.device("cpu")), (_images(40, 1, 16, seed) for seed in (1, 2))
    networks = fid.extractors(["fd_dinov2"], how.device)
    assert networks.keys() == {"dinov2"}
    a, b = ({"dinov2": networks["dinov2"](images)} for images in (real, samples))
    found = fid.distances(["fd_dinov2"], b, fid.Reference.of(a, ["fd_dinov2"], how), how)
    assert found.keys() == {"fd_dinov2", "fd_dinov2_half", "fd_dinov2_extrapolated"}
    assert found["fd_dinov2"] == pytest.approx(frechet_distance(moments(b["dinov2"]), moments(a["dinov2"])))
