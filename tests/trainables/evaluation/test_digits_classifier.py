"""The shipped classifier: its weights are whole, its features are sound, and it reaches what its card says."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.data import load as load_data
from trainables.evaluation import digits_classifier
from trainables.evaluation.digits_classifier import FEATURES, HERE, DigitsClassifier, train
from trainables.sections import Data


@pytest.fixture(scope="module")
def model() -> DigitsClassifier:
    return digits_classifier.load()


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    card: dict[str, Any] = json.loads((HERE / "card.json").read_text())
    return card


def test_loads_frozen_and_in_eval_mode(model: DigitsClassifier, card: dict[str, Any]) -> None:
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert sum(weight.numel() for weight in model.parameters()) == card["parameters"]


def test_one_flipped_bit_in_the_weights_is_refused(tmp_path: Path) -> None:
    for name in ("weights.safetensors", "card.json"):
        shutil.copy(HERE / name, tmp_path)
    digits_classifier.load(folder=tmp_path)
    weights = tmp_path / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        digits_classifier.load(folder=tmp_path)


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
def test_features_are_64_finite_and_of_full_rank(model: DigitsClassifier, size: int) -> None:
    features = model.features(train.held_out_images(size)[0])
    assert features.shape == (500, FEATURES)
    assert features.isfinite().all()
    assert torch.linalg.matrix_rank(features.double().T.cov()) == FEATURES


def test_features_do_not_depend_on_the_batch_or_the_call(model: DigitsClassifier) -> None:
    images = train.held_out_images(16)[0][:20]
    together = model.features(images)
    assert torch.equal(together, model.features(images))
    alone = torch.cat([model.features(image[None]) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [16, 32])
def test_accuracy_on_held_out_digits_is_the_cards(model: DigitsClassifier, card: dict[str, Any], size: int) -> None:
    reached = train.accuracy(model, *train.held_out_images(size))
    assert reached == card["accuracy"][f"held_out_digits_{size}x{size}"]
    assert reached >= 0.98


def test_accuracy_on_mnist_is_the_cards(model: DigitsClassifier, card: dict[str, Any], real_data: Path) -> None:
    reached = train.accuracy(model, *train.mnist_test(real_data / "mnist"))
    assert reached == pytest.approx(card["accuracy"]["mnist_test_32x32"], abs=1e-3)


def test_distances_are_the_cards(model: DigitsClassifier, card: dict[str, Any]) -> None:
    assert train.sanity(model) == pytest.approx(card["distance_to_training_digits_16x16"], rel=0.01)


@pytest.mark.parametrize("size", [16, 32])
def test_distance_grows_with_noise_and_real_images_are_nearest(model: DigitsClassifier, size: int) -> None:
    training = train.as_images(train.digits(train.TRAINING)[0], size)
    floor = train.distance(model, train.held_out_images(size)[0], training)
    spoilt = [train.distance(model, train.noisy(training, sigma), training) for sigma in (0.0, 0.1, 0.2, 0.4, 0.8)]
    assert spoilt[0] == pytest.approx(0, abs=1e-3)
    assert all(less < more for less, more in pairwise(spoilt))
    assert 1 < floor < 20 < spoilt[2]


def test_the_classifier_never_saw_the_images_that_the_pipeline_holds_out() -> None:
    data = load_data(Data(image_size=16))
    for part, images in ((train.TRAINING, data.train), (train.HELD_OUT, data.held_out)):
        torch.testing.assert_close(train.as_images(train.digits(part)[0], 16), images / 127.5 - 1)


def test_training_is_deterministic_and_moves_every_weight() -> None:
    torch.manual_seed(train.RECIPE["seed"])
    initial = DigitsClassifier().state_dict()
    first, second = (train.train(*train.digits(train.TRAINING), steps=20).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not [name for name in first if torch.equal(first[name], initial[name])]
