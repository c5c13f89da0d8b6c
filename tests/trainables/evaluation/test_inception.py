"""The Inception, and its features against clean-fid on the same images as PNG files.

The published weights are not here: a small network with random weights and the same interface stands in for them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid import downloads_helper, fid
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from PIL import Image
from torch import Tensor, nn

from trainables.data import DataError
from trainables.evaluation import fixed_network, inception
from trainables.evaluation.frechet import frechet_distance, moments
from trainables.evaluation.inception import Inception, resized

NAME = "inception-2015-12-05.pt"
USED = 24  # of the features, in distances: clean-fid's matrix root of all 2048 takes ten seconds


class Standin(nn.Module):
    """An Inception's interface: `layers` from (B, 3, 299, 299) to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 9, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(144, 2048)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the stand-in under the published file's name."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(Standin().eval()), path / NAME)
    return path


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ABLATION_INCEPTION", raising=False)


def _images(count: int, channels: int, size: int, seed: int, blur: float = 1.0) -> Tensor:
    """Coloured blobs on a ground, with noise: no two alike, and all of [0, 255] in use."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    at = torch.rand(count, channels, 2, 1, 1, generator=g)
    blob = torch.exp(-((x - at[:, :, 0]) ** 2 + (y - at[:, :, 1]) ** 2) * 20 / blur)
    noise = 0.1 * torch.randn(count, channels, size, size, generator=g)
    return ((1.2 * blob - 0.1 + noise).clamp(0, 1) * 255).round().to(torch.uint8)


def _as_files(images: Tensor, folder: Path) -> str:
    folder.mkdir()
    for number, image in enumerate(images.numpy()):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return str(folder)


def _clean_fids_network(folder: Path) -> Callable[[Tensor], Tensor]:
    """Clean-fid's own wrapper, which scales the images, around the stand-in."""
    return InceptionV3W(str(folder), download=False)


@pytest.fixture(scope="module")
def network(folder: Path) -> Inception:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return Inception(torch.jit.load(folder / NAME), "cpu")


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 32), (3, 16), (1, 16)])
def test_distance_is_clean_fids_on_the_same_images_as_files(
    network: Inception, folder: Path, tmp_path: Path, channels: int, size: int
) -> None:
    real, generated = _images(120, channels, size, seed=0), _images(100, channels, size, seed=1, blur=1.5)
    whole = _clean_fids_network(folder)
    expected = fid.compute_fid(
        _as_files(generated, tmp_path / "generated"),
        _as_files(real, tmp_path / "real"),
        device=torch.device("cpu"),
        num_workers=0,
        verbose=False,
        custom_feat_extractor=lambda batch: whole(batch)[:, :USED],
    )
    found = frechet_distance(*(moments(network.features(images)[:, :USED]) for images in (generated, real)))
    assert expected > 0
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 16, 16), (3, 20, 48), (3, 320, 320)])
def test_features_are_clean_fids(
    network: Inception, folder: Path, tmp_path: Path, channels: int, height: int, width: int
) -> None:
    images = _images(7, channels, max(height, width), seed=0)[:, :, :height, :width]
    files = _as_files(images, tmp_path / "images")
    expected = fid.get_folder_features(
        files, _clean_fids_network(folder), num_workers=0, device=torch.device("cpu"), verbose=False
    )
    found = network.features(images)
    assert found.shape == (7, 2048) and found.dtype == np.float64
    assert np.abs(found - expected).max() < 1e-4 * expected.std()


@pytest.mark.parametrize("size", [8, 16, 32, 100, 256, 299, 320, 512])
def test_resize_is_clean_fids(size: int) -> None:
    one = build_resizer("clean")
    images = torch.cat([_images(2, 3, size, seed=0), torch.randint(2, (1, 3, size, size)).to(torch.uint8) * 255])
    expected = np.stack([one(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in images.numpy()])
    assert np.abs(resized(images).numpy() - expected).max() < 1e-3


def test_resize_clips_the_overshoot_of_the_bicubic() -> None:
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    images[:, :, :, 4:] = 255
    found = resized(images)
    assert float(found.min()) == 0.0 and float(found.max()) == 255.0
    assert found.dtype == torch.float32 and found.shape == (1, 1, 299, 299)


def test_batches_and_order_do_not_matter(network: Inception, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _images(9, 3, 16, seed=0)
    expected = network.features(images)
    monkeypatch.setattr(fixed_network, "BATCH", 4)
    found = network.features(images.flip(0))[::-1]
    assert np.abs(found - expected).max() < 1e-5 * expected.std()
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * expected.std()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 16, 16),
        torch.zeros(2, 4, 16, 16, dtype=torch.uint8),
        torch.zeros(3, 16, 16, dtype=torch.uint8),
        torch.zeros(0, 3, 16, 16, dtype=torch.uint8),
    ],
    ids=["floats", "four channels", "one image", "none"],
)
def test_other_images_are_refused(network: Inception, images: Tensor) -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        network.features(images)


class Observer(nn.Module):
    """Keeps the settings under which it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool, bool]] = []
        self.layers = self._keeps

    def _keeps(self, x: Tensor) -> Tensor:
        tf32 = torch.backends.cudnn.allow_tf32
        self.seen.append((tf32, torch.is_grad_enabled(), self.training))
        return x.mean((2, 3))


def test_computes_in_full_float32_without_gradients_and_leaves_the_settings() -> None:
    observer = Observer()
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled
    Inception(observer, "cpu").features(_images(2, 3, 16, seed=0))
    assert observer.seen == [(False, False, False)]
    after = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled
    assert after == before


def test_fingerprint_tells_weights_apart() -> None:
    torch.manual_seed(0)
    one = Standin()
    first = Inception(one, "cpu").fingerprint
    assert Inception(one, "cpu").fingerprint == first
    with torch.no_grad():
        next(one.parameters()).flatten()[0] += 1e-6
    assert Inception(one, "cpu").fingerprint != first


def test_file_is_the_one_that_clean_fid_takes() -> None:
    assert downloads_helper.inception_url == inception.FILE.url
    assert inception.FILE.name == NAME and inception.FILE.variable == "ABLATION_INCEPTION"


def test_loads_what_was_published(folder: Path, network: Inception, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / NAME
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "FILE", replace(inception.FILE, url=path.as_uri(), sha256=sha256))
    found = inception.load("cpu")
    images = _images(2, 3, 16, seed=0)
    assert np.array_equal(found.features(images), network.features(images))
    assert found.fingerprint == sha256 != network.fingerprint


def test_another_network_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_INCEPTION", str(folder / NAME))
    with pytest.raises(DataError, match="is not the published Inception network"):
        inception.load("cpu")
