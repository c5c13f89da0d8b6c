"""The suites: what each preset can take of them, no variant twice, and each trains and draws."""

from __future__ import annotations

import pytest
import torch

from search_spaces.ablations import CONTROLS, SUITES, VARIANTS
from search_spaces.presets import ABLATIONS, quick
from search_spaces.spaces import ABLATIONS as SPACE
from search_spaces.spaces import SEGMENTATION
from trainables.checkpoints import Checkpoints
from trainables.config import ConfigError, apply
from trainables.data import About
from trainables.sampling import draw
from trainables.stages import twin_keys
from trainables.store import Store
from trainables.training import Trainer
from trainables.training_rates import warmed_up_decay

ABOUT = About(1, ("a", "b"), 1097, 200, 500, "fingerprint")
PAIRS = [(suite, name) for suite in SUITES for name in SUITES[suite]]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("preset", ABLATIONS)
def test_every_variant_of_a_suite_is_another_trial_in_every_preset(preset: str, suite: str) -> None:
    base = ABLATIONS[preset]()
    without = {"learned_variance"} if base.sampling.sampler == "ddim" else set()
    steps, decay = base.training.train_steps, base.training.ema_decay
    twins = (
        {"long_ema"} if warmed_up_decay(steps - 1) <= decay else set()
    )  # of the baseline: no decay so long is reached
    configs = {name: apply(base, delta) for name, delta in SUITES[suite].items() if name not in without | twins}
    assert len({tuple(twin_keys(config, ABOUT).items()) for config in configs.values()}) == len(configs)
    for name in without & set(SUITES[suite]):
        with pytest.raises(ConfigError, match=r"sampling\.sampler must be ddpm"):
            apply(base, SUITES[suite][name])


def test_a_name_means_the_same_in_every_suite() -> None:
    known = dict(VARIANTS)
    for variants in SUITES.values():
        assert variants["baseline"] == {}
        assert all(known.setdefault(name, delta) == delta for name, delta in variants.items())
        assert not set(variants) & set(CONTROLS)


def test_suites_are_of_the_ablation_study() -> None:
    assert SPACE.suites is SUITES
    assert not SEGMENTATION.suites


@pytest.mark.parametrize(("suite", "name"), PAIRS)
def test_a_variant_trains_and_draws(suite: str, name: str, tiny: dict[str, object], tmp_path: object) -> None:
    small = {"training.train_steps": 3, "sampling.samples": 4, "sampling.sampling_steps": 3, "sampling.sampler": "ddpm"}
    config = apply(apply(quick(), tiny | small), SUITES[suite][name])
    images = torch.randint(256, (16, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    trainer = Trainer(config, images)
    list(trainer.run())
    checkpoints = Checkpoints(Store(tmp_path), "samples", "key", 1e9)
    making = draw(config, trainer.ema, images.shape[1:], torch.device("cpu"), checkpoints)
    try:
        while True:
            next(making)
    except StopIteration as end:
        samples = end.value.samples(2)
    assert samples.shape == (2, 4, 1, 16, 16)
    assert len({image.tobytes() for image in samples.reshape(8, -1)}) == 8
