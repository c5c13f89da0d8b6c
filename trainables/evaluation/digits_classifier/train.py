"""The recipe of the digits classifier: `python -m trainables.evaluation.digits_classifier.train --mnist DIR --out DIR`.

About two minutes on one core; 99 % on held-out digits and 88 % on MNIST, which it never sees in training. Writes
`weights.safetensors` and `card.json` to a new folder. The same machine gives the same weights, bit for bit; another
one need not, which is why the weights ship with the package.

Two things make the features fit for a Frechet distance, where a bare classifier's are not: strong augmentation, so
that held-out digits lie as near as the trained ones; and a second head, thrown away afterwards, that must tell how
noisy and how coarse an image is. Without it a classifier learns to overlook noise, and so would the metric.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from trainables.evaluation.digits_classifier import FEATURE_SCALE, FEATURES, INTERNAL_SIZE, DigitsClassifier

SPLIT_SEED = 20240526
TRAINING, HELD_OUT = slice(0, 1097), slice(1297, 1797)  # between them: the images with labels for segmentation

RECIPE: dict[str, Any] = {
    "seed": 0,
    "steps": 3000,
    "batch_size": 96,
    "learning_rate": 4e-3,  # peak of one cycle; AdamW
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    "quality_weight": 0.5,  # of the second head's mean squared error
}
AUGMENTATION: dict[str, Any] = {
    # Geometry, at full strength; an image's strength is uniform in [0, 1]. Lengths: half the image's side is 1.
    "rotation": 0.5,  # radians, either way
    "shear": 0.6,
    "log_height": (-0.8, -0.1),  # ln of the factor: MNIST leaves a margin, the digits fill the frame
    "log_aspect": (-0.3, 0.7),  # ln of width / height over the digit's own
    "shift": (0.25, 0.15),  # in x, in y; either way
    "elastic": 0.07,  # SD of the displacement, drawn on a 4x4 grid
    # Ink: re-drawing the stroke with a sharp edge at a threshold makes it thin or thick.
    "redrawn": 0.75,  # share of images
    "equalised": 0.6,  # share of those that first have faint strokes lifted to their neighbourhood's strongest
    "threshold": (0.3, 0.65),  # of full ink
    "log_gain": (1.4, 3.2),  # ln of the edge's steepness
    "contrast": (0.7, 1.0),
    "resolutions": (8, 12, 16, 16, 20, 24, 32, 32),  # pixels; drawn once a batch
    "noisy": 0.5,  # share of images
    "noise": 0.5,  # largest SD, for images in [-1, 1]
}


def digits(part: slice) -> tuple[Tensor, Tensor]:
    """Ink of one part of scikit-learn's digits in [0, 1], (N, 1, 8, 8), and their classes, (N,)."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(pixels))[part]
    return torch.from_numpy(pixels[order]).float().reshape(-1, 1, 8, 8) / 16, torch.from_numpy(classes[order])


def as_images(ink: Tensor, size: int) -> Tensor:
    """The images that the pipeline makes of `ink`: of `size` pixels and 256 levels, in [-1, 1]."""
    ink = F.interpolate(ink, size=(size, size), mode="bilinear", align_corners=False)
    return (ink * 255).round() / 127.5 - 1


def held_out_images(size: int) -> tuple[Tensor, Tensor]:
    """The 500 held-out digits as images of `size` pixels in [-1, 1], and their classes."""
    ink, classes = digits(HELD_OUT)
    return as_images(ink, size), classes


def mnist_test(root: Path) -> tuple[Tensor, Tensor]:
    """MNIST's 10,000 test images at 32x32 in [-1, 1], and their classes.

    Args:
        root: a folder in torchvision's layout, `root/MNIST/raw/t10k-*`.
    """
    from torchvision.datasets import MNIST

    data = MNIST(root=str(root), train=False, download=False)
    return as_images(data.data[:, None].float() / 255, 32), data.targets


def augment(ink: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Images of 32x32 in [-1, 1], (N, 1, 32, 32), and the two figures of their quality, (N, 2), each of order 1.

    Args:
        ink: digits in [0, 1], (N, 1, 8, 8).
        generator: the source of every draw.
    """
    a, n = AUGMENTATION, len(ink)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    def chosen(share: float) -> Tensor:
        return (torch.rand(n, generator=generator) < share)[:, None, None, None]

    def per_image(values: Tensor) -> Tensor:
        return values[:, None, None, None]

    # Geometry. A grid names the place in the source that each target pixel comes from, hence the inverse.
    strength = uniform(0, 1)
    angle, shear = strength * uniform(-a["rotation"], a["rotation"]), strength * uniform(-a["shear"], a["shear"])
    height = torch.exp(strength * uniform(*a["log_height"]))
    width = height * torch.exp(strength * uniform(*a["log_aspect"]))
    shift = torch.stack([strength * uniform(-limit, limit) for limit in a["shift"]], 1)[..., None]
    cos, sin = angle.cos(), angle.sin()
    rotated = torch.stack([cos, -sin, sin, cos], 1).reshape(n, 2, 2)
    sheared = torch.stack([width, shear * height, torch.zeros(n), height], 1).reshape(n, 2, 2)
    inverse = torch.linalg.inv(rotated @ sheared)
    size = (INTERNAL_SIZE, INTERNAL_SIZE)
    grid = F.affine_grid(torch.cat([inverse, -inverse @ shift], 2), [n, 1, *size], align_corners=False)
    bends = F.interpolate(torch.randn(n, 2, 4, 4, generator=generator), size=size, mode="bicubic", align_corners=False)
    grid = grid + (per_image(a["elastic"] * strength) * bends).permute(0, 2, 3, 1)
    mode = "bicubic" if torch.rand((), generator=generator) < 0.7 else "bilinear"
    ink = F.grid_sample(ink, grid, mode=mode, padding_mode="zeros", align_corners=False).clamp(0, 1)

    # Stroke.
    around = F.avg_pool2d(F.max_pool2d(ink, 7, stride=1, padding=3), 3, stride=1, padding=1)
    source = torch.where(chosen(a["equalised"]), (ink / (around + 0.1)).clamp(0, 1), ink)
    stroke = torch.sigmoid(per_image(uniform(*a["log_gain"]).exp()) * (source - per_image(uniform(*a["threshold"]))))
    stroke = stroke / stroke.amax((2, 3), keepdim=True).clamp(min=0.3)
    ink = torch.where(chosen(a["redrawn"]), stroke, ink)

    # Resolution, contrast and noise; noise is as fine as the pixels of 16x16 or of 32x32 images.
    resolution = a["resolutions"][int(torch.randint(len(a["resolutions"]), (), generator=generator))]
    ink = F.interpolate(ink, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)
    ink = F.interpolate(ink, size=size, mode="bilinear", align_corners=False)
    grain = 16 if torch.rand((), generator=generator) < 0.5 else INTERNAL_SIZE
    noise = torch.randn(n, 1, grain, grain, generator=generator)
    noise = F.interpolate(noise, size=size, mode="bilinear", align_corners=False)
    sigma = uniform(0, a["noise"]) * chosen(a["noisy"]).flatten()
    images = 2 * per_image(uniform(*a["contrast"])) * ink - 1 + per_image(sigma) * noise
    quality = torch.stack([6 * sigma, torch.full((n,), (resolution - 18) / 8)], 1)
    return images.clamp(-1, 1), quality


def train(ink: Tensor, classes: Tensor, steps: int, progress: Callable[[str], None] = print) -> DigitsClassifier:
    """A classifier trained on one core, in eval mode.

    Args:
        ink: digits in [0, 1], (N, 1, 8, 8).
        classes: their classes, (N,).
        steps: optimiser steps, at least 20; the learning rate's cycle is fitted to them.
        progress: called with a line of text every 500 steps.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums, and so the last bits, depend on the number of threads
    torch.manual_seed(RECIPE["seed"])
    generator = torch.Generator().manual_seed(RECIPE["seed"])
    model = DigitsClassifier().to(memory_format=torch.channels_last)  # a third faster on a CPU
    quality_head = nn.Linear(FEATURES, 2)
    weights = [*model.parameters(), *quality_head.parameters()]
    peak = RECIPE["learning_rate"]
    optimiser = torch.optim.AdamW(weights, lr=peak, weight_decay=RECIPE["weight_decay"])
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=steps, pct_start=0.1)
    for step in range(1, steps + 1):
        batch = torch.randint(len(ink), (RECIPE["batch_size"],), generator=generator)
        images, quality = augment(ink[batch], generator)
        features = model.features(images.to(memory_format=torch.channels_last)) / FEATURE_SCALE
        loss = F.cross_entropy(model.head(features), classes[batch], label_smoothing=RECIPE["label_smoothing"])
        loss = loss + RECIPE["quality_weight"] * F.mse_loss(quality_head(features), quality)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        cycle.step()
        if step % 500 == 0:
            progress(f"step {step}/{steps}: loss {loss.item():.3f}")
    torch.set_num_threads(threads)
    return model.to(memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def accuracy(model: DigitsClassifier, images: Tensor, classes: Tensor) -> float:
    """The share of images that the model names rightly, in [0, 1]."""
    named = torch.cat([model(chunk).argmax(1) for chunk in images.split(500)])
    return int((named == classes).sum()) / len(classes)


@torch.no_grad()
def distance(model: DigitsClassifier, images: Tensor, reference: Tensor) -> float:
    """The Frechet distance between the features of two sets of images in [-1, 1]."""
    from cleanfid.fid import frechet_distance

    moments = []
    for group in (images, reference):
        features = torch.cat([model.features(chunk) for chunk in group.split(500)]).double().numpy()
        moments += [features.mean(0), np.cov(features, rowvar=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # blank images have a covariance of zero, whose root is zero: no loss
        return float(frechet_distance(*moments))


def noisy(images: Tensor, sigma: float) -> Tensor:
    """`images` with the same normal noise at every call, of SD `sigma`, cut to [-1, 1]."""
    return (images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)


def sanity(model: DigitsClassifier) -> dict[str, float]:
    """Distances to the 1,097 training images at 16x16, of sets from as good as real to blank."""
    from torchvision.transforms.functional import gaussian_blur

    ink, classes = digits(TRAINING)
    training, held_out = as_images(ink, 16), held_out_images(16)[0]
    sets = {
        "held_out": held_out,
        "first_500_of_training": training[:500],
        "noise_sigma_0.1": noisy(training, 0.1),
        "noise_sigma_0.2": noisy(training, 0.2),
        "noise_sigma_0.4": noisy(training, 0.4),
        "blur_sigma_1_pixel": gaussian_blur(training, [9, 9], [1.0, 1.0]),
        "blur_sigma_2_pixels": gaussian_blur(training, [9, 9], [2.0, 2.0]),
        "threes_only": training[classes == 3],
        "uniform_noise": 2 * torch.rand(training.shape, generator=torch.Generator().manual_seed(1)) - 1,
        "blank": -torch.ones_like(training),
    }
    figures = {name: distance(model, images, training) for name, images in sets.items()}
    figures["held_out_to_first_500_of_training"] = distance(model, held_out, training[:500])
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    """Trains, measures and writes."""
    parser = argparse.ArgumentParser(description="Train the digits classifier, and write its weights and its card.")
    parser.add_argument(
        "--mnist", type=Path, help="folder of MNIST in torchvision's layout: measure on its test images"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/digits_classifier"), help="folder to write to; %(default)s"
    )
    arguments = parser.parse_args()
    weights = arguments.out / "weights.safetensors"
    if weights.exists():
        parser.error(f"--out must be a folder without weights, but {weights} is there")

    checks = {f"held_out_digits_{size}x{size}": held_out_images(size) for size in (16, 32)}
    if arguments.mnist:
        checks["mnist_test_32x32"] = mnist_test(arguments.mnist)

    started = time.perf_counter()
    model = train(*digits(TRAINING), steps=RECIPE["steps"])
    print(f"trained in {time.perf_counter() - started:.0f} s")

    content = save(model.state_dict())
    card = {
        "name": "digits_classifier",
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "features": FEATURES,
        "feature_scale": FEATURE_SCALE,
        "internal_size": INTERNAL_SIZE,
        "architecture": str(model).splitlines(),
        "data": {
            "name": "scikit-learn's digits (load_digits): 1,797 images of 8x8 pixels",
            "order": f"numpy.random.default_rng({SPLIT_SEED}).permutation(1797)",
            "training": [TRAINING.start, TRAINING.stop],
            "held_out": [HELD_OUT.start, HELD_OUT.stop],
            "note": "held_out and MNIST are never trained on, but the augmentation was chosen in sight of both",
        },
        "recipe": RECIPE,
        "augmentation": AUGMENTATION,
        "torch": torch.__version__,
        "accuracy": {name: accuracy(model, *check) for name, check in checks.items()},
        "distance_to_training_digits_16x16": sanity(model),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(content)
    (arguments.out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(
        json.dumps({name: card[name] for name in ("sha256", "accuracy", "distance_to_training_digits_16x16")}, indent=2)
    )
    print(f"wrote {weights} and card.json")


if __name__ == "__main__":
    main()
