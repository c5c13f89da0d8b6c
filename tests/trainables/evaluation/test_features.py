"""The feature maps against up-sampling them whole, and what the U-Net is shown to make them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from trainables.diffusion.process import Process
from trainables.evaluation import features
from trainables.evaluation.features import DecoderOutputs, FeatureMaps, InColour, PixelValues, joined
from trainables.images import to_unit
from trainables.randomness import generator
from trainables.sections import Diffusion

SHAPES = [  # (image size, [(channels, size) of each map])
    (16, [(5, 16)]),
    (16, [(3, 2), (5, 4), (2, 8)]),
    (16, [(4, 5), (3, 7), (1, 16), (2, 1)]),
    (9, [(3, 2), (4, 5)]),
]


def _maps(shapes: list[tuple[int, int]], images: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    return [torch.randn(images, channels, size, size, generator=g) for channels, size in shapes]


def _whole(maps: list[Tensor], size: int) -> Tensor:
    """All features of all pixels, (N, D, H, W)."""
    return torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps], dim=1)


def _feature_maps(maps: list[Tensor], size: int) -> FeatureMaps:
    return FeatureMaps([m.permute(0, 2, 3, 1).contiguous() for m in maps], size)


def _outputs(model: Model, blocks: tuple[int, ...] = (6,), timesteps: tuple[int, ...] = (50, 150), seed: int = 0):
    return DecoderOutputs(model, Process(Diffusion()), timesteps, blocks, seed, parts=1)


def _all(features: DecoderOutputs | PixelValues, images: Tensor) -> tuple[FeatureMaps, list[int]]:
    making, seen = joined(features.batches(images), len(images)), []
    while True:
        try:
            seen.append(next(making))
        except StopIteration as end:
            return end.value, seen


class Model:
    """Stands in for the U-Net: keeps what it is shown and gives maps that say from which call they are."""

    def __init__(self) -> None:
        self.shown: list[tuple[Tensor, Tensor]] = []

    def features(self, x_t: Tensor, t: Tensor, blocks: tuple[int, ...]) -> dict[int, Tensor]:
        self.shown.append((x_t, t))
        number = x_t[:, :1, :2, :2] * 0
        return {block: number + 1000 * t[:, None, None, None] + block for block in blocks}


@pytest.mark.parametrize(("size", "shapes"), SHAPES)
def test_pixels_are_those_of_the_upsampled_maps(size: int, shapes: list[tuple[int, int]]) -> None:
    maps = _maps(shapes)
    index = torch.randperm(3 * size**2, generator=torch.Generator().manual_seed(1))
    expected = _whole(maps, size).permute(0, 2, 3, 1).flatten(0, 2)[index]
    assert_close(_feature_maps(maps, size).pixels(index), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "shapes"), SHAPES)
@pytest.mark.parametrize("outputs", [1, 40], ids=["projected first", "up-sampled first"])
def test_project_is_the_linear_layer_on_the_upsampled_maps(
    size: int, shapes: list[tuple[int, int]], outputs: int
) -> None:
    maps = _maps(shapes)
    weight = torch.randn(outputs, sum(channels for channels, _ in shapes), generator=torch.Generator().manual_seed(1))
    found = _feature_maps(maps, size)
    for image in range(3):
        expected = torch.einsum("kd,dhw->khw", weight, _whole(maps, size)[image])
        assert_close(found.project(image, weight), expected, rtol=1e-4, atol=1e-4)


def test_maps_are_timestep_major_then_block_in_the_order_asked_for() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    maps, _ = _all(_outputs(Model(), blocks=(9, 6), timesteps=(250, 50)), images)
    assert [int(m[0, 0, 0, 0]) for m in maps.maps] == [250_009, 250_006, 50_009, 50_006]
    assert maps.channels == [1, 1, 1, 1]


def _shown_noise(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Tensor]]:
    """The timestep and the noise of each image that the model is shown."""
    monkeypatch.setattr(features, "BATCH_PIXELS", 2 * 16)
    process, model = Process(Diffusion()), Model()
    images = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    _all(_outputs(model, seed=seed), images)
    clean, noise = [to_unit(images[:2]), to_unit(images[2:4]), to_unit(images[4:])], []
    for call, (x_t, t) in enumerate(model.shown):
        a = process.alphas_cumprod[t].float()[:, None, None, None]
        noise += zip(t.tolist(), (x_t - a.sqrt() * clean[call // 2]) / (1 - a).sqrt(), strict=True)
    return noise


def test_one_noise_serves_all_images_and_timesteps(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = _shown_noise(0, monkeypatch)
    assert sorted(t for t, _ in noise) == [50] * 5 + [150] * 5
    first = noise[0][1]
    assert 0.3 < float(first.std()) < 3
    for _, other in noise[1:]:
        assert_close(other, first, rtol=0, atol=1e-4)


def test_a_network_of_colours_is_shown_grey_images_as_if_they_were_saved_in_colour() -> None:
    grey = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    colour = grey.repeat(1, 3, 1, 1)
    shown = []
    for making, images in ((InColour, grey), (InColour, colour), (None, colour)):
        model = Model()
        outputs = _outputs(model)
        list((making(outputs, 3) if making else outputs).batches(images))
        shown.append(torch.cat([x_t for x_t, _ in model.shown]))
    assert shown[0].shape == (10, 3, 8, 8)
    assert torch.equal(shown[0], shown[1]) and torch.equal(shown[0], shown[2])
    assert not torch.equal(shown[0][:, 0], shown[0][:, 1])  # the noise is each channel's own


def test_noise_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    first, again, other = (_shown_noise(seed, monkeypatch)[0][1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def _drawn(draws: int, seed: int = 3) -> tuple[list[Tensor], Tensor]:
    """The noisy images of each timestep that the model is shown, and the clean ones."""
    model, images = Model(), torch.randint(256, (2, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    process, images = Process(Diffusion()), images.to(torch.uint8)
    list(DecoderOutputs(model, process, (50, 150), (6,), seed, parts=1, draws=draws).batches(images))
    return [x_t for x_t, _ in model.shown], to_unit(images)


def _noised(x_0: Tensor, t: int, eps: Tensor) -> Tensor:
    """sqrt(alphas_cumprod_t) x_0 + sqrt(1 - alphas_cumprod_t) eps."""
    return Process(Diffusion()).q_sample(x_0, torch.full((len(x_0),), t), eps)


def test_one_draw_is_of_the_generator_that_it_always_was_and_further_ones_of_their_own() -> None:
    first = torch.randn(1, 1, 4, 4, generator=generator(3, "feature noise"))
    shown, x_0 = _drawn(1)
    assert all(map(torch.equal, shown, [_noised(x_0, t, first) for t in (50, 150)]))
    further = [torch.randn(1, 1, 4, 4, generator=generator(3, "feature noise", k)) for k in (1, 2)]
    shown, x_0 = _drawn(3)
    assert all(map(torch.equal, shown, [_noised(x_0, t, eps) for t in (50, 150) for eps in (first, *further)]))
    assert len(shown) == 6 and not torch.equal(further[0], further[1])


def test_without_noise_the_image_is_scaled_as_at_the_timestep() -> None:
    shown, x_0 = _drawn(0)
    alphas = Process(Diffusion()).alphas_cumprod[[50, 150]].float()
    for x_t, a in zip(shown, alphas, strict=True):
        assert_close(x_t, a.sqrt() * x_0, rtol=1e-6, atol=1e-6)
    assert all(map(torch.equal, shown, _drawn(0, seed=4)[0]))  # no seed changes it


class Squares:
    """Stands in for a network whose outputs are no linear function of what it is shown."""

    def features(self, x_t: Tensor, t: Tensor, blocks: tuple[int, ...]) -> dict[int, Tensor]:
        return {block: (block * x_t**2).to(torch.bfloat16) for block in blocks}


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_features_of_several_draws_are_their_mean(draws: int) -> None:
    images = torch.randint(256, (3, 1, 4, 4), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    outputs = DecoderOutputs(Squares(), Process(Diffusion()), (50, 150), (7, 6), 3, 1, draws)
    maps, _ = _all(outputs, images)
    epsilons = [
        torch.randn(1, 1, 4, 4, generator=generator(3, "feature noise", *([k] if k else []))) for k in range(draws)
    ]
    expected = []
    for t in (50, 150):
        for block in (7, 6):
            each = [Squares().features(_noised(to_unit(images), t, eps), None, (block,))[block] for eps in epsilons]
            expected.append(torch.stack([one.float() for one in each]).mean(0))  # in full precision
    for found, mean in zip(maps.maps, expected, strict=True):
        assert found.dtype == torch.float32
        assert_close(found, mean.permute(0, 2, 3, 1), rtol=1e-6 if draws > 1 else 0, atol=1e-6 if draws > 1 else 0)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_every_image_has_its_features_and_the_count_ends_at_the_last(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BATCH_PIXELS", 2 * 16)
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4)
    maps, seen = _all(PixelValues(), images)
    assert maps.maps[0].shape == (count, 4, 4, 1)
    assert_close(maps.maps[0][:, 0, 0, 0], torch.arange(count) / 127.5 - 1)
    assert seen == [min(i + 2, count) for i in range(0, count, 2)]


def test_a_batch_in_parts_has_the_same_features() -> None:
    images = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    process = Process(Diffusion())
    whole, halves = (_all(DecoderOutputs(Model(), process, (50,), (6,), 0, parts), images)[0] for parts in (1, 2))
    assert torch.equal(whole.maps[0], halves.maps[0])


def test_features_of_raw_pixels_are_the_images_values() -> None:
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = _all(PixelValues(), images)[0].pixels(torch.arange(32))
    assert_close(found, (images.float() / 127.5 - 1).permute(0, 2, 3, 1).reshape(32, 3))


def test_features_hold_no_graph_of_the_network() -> None:
    class Learned(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(1, 4, 1)

        def features(self, x_t: Tensor, t: Tensor, blocks: tuple[int, ...]) -> dict[int, Tensor]:
            return {block: self.convolution(x_t) for block in blocks}

    (maps,) = _outputs(Learned(), timesteps=(50,)).batches(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert [m.shape for m in maps.maps] == [(2, 8, 8, 4)]
    assert not any(m.requires_grad for m in maps.maps)
