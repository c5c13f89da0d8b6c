"""Which settings act: what cannot differ has one key, and what can has two."""

from __future__ import annotations

import pytest
import torch

from search_spaces.presets import bedroom, quick
from trainables.canonical import LATER, canonical, identified, keyed
from trainables.config import PARTS_WITH_ARGS, Config, Overrides, apply, flatten
from trainables.data import About
from trainables.stages import settings_keys, twin_keys
from trainables.training_rates import ema_decay

ABOUT = About(1, ("a", "b"), 1097, 200, 500, "fingerprint")
COSINE = {"diffusion.beta_schedule": "cosine"}
SIGMOID = {"diffusion.beta_schedule": "sigmoid"}
MIN_SNR, P2 = ({"training.loss_weighting": name} for name in ("min_snr", "p2"))
CONTROL = {"segmentation.features": "pixels"}
OWN_BLOCK = {"unet.block": "torch.nn:Identity"}
OWN_NETWORK = {"network": "torch.nn:Identity", "segmentation.blocks": ("layer.*",)}


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ({}, {"diffusion.beta_min": 1e-3}),
        ({}, {"diffusion.beta_max": 0.9}),
        ({}, {"diffusion.beta_scaling": "none"}),
        (COSINE, {"diffusion.beta_start": 1e-3, "diffusion.beta_end": 0.5}),
        (COSINE | {"diffusion.timesteps": 300}, {"diffusion.beta_scaling": "none"}),
        (SIGMOID, {"diffusion.beta_start": 1e-3, "diffusion.beta_end": 0.5}),
        ({}, {"unet.convnext_expansion": 4}),
        ({}, {"unet.channels": (16, 32, 32)}),  # as the multipliers say
        ({"unet.attention_resolutions": ()}, {"unet.attention_heads": 1}),
        ({"training.train_steps": 0}, {"training.learning_rate": 0.1, "training.ema_warmup": False}),
        ({"training.train_steps": 300, "training.ema_decay": 0.99}, {"training.ema_decay": 0.9999}),
        ({"unet.attention_resolutions": ()}, {"unet.qk_norm": True}),
        ({"training.train_steps": 0}, {"training.flips": True, "training.loss": "l1"}),
        ({}, {"training.min_snr_gamma": 3.0, "training.p2_gamma": 0.5, "training.p2_k": 2.0}),
        (MIN_SNR, {"training.p2_gamma": 0.5, "training.p2_k": 2.0}),
        (P2, {"training.min_snr_gamma": 3.0}),
        ({"training.train_steps": 300, "training.warmup_steps": 300}, {"training.final_learning_rate": 0.1}),
        ({"sampling.source": "held_out"}, {"sampling.sampler": "ddpm", "sampling.sampling_repeats": 1}),
        ({"segmentation.features": "pixels"}, {"segmentation.blocks": (5,), "segmentation.timesteps": (7,)}),
        ({"segmentation.noise_levels": (1.0,)}, {"segmentation.timesteps": (7,)}),
        ({"segmentation.noise": "zero"}, {"segmentation.noise_draws": 3}),
        (CONTROL, {"segmentation.noise": "zero"}),
        (CONTROL, {"segmentation.noise_draws": 3}),
        (OWN_NETWORK, {"unet.base_channels": 24, "unet.attention_resolutions": ()}),
    ],
    ids=str,
)
def test_configs_that_differ_in_what_cannot_act_are_twins(given: Overrides, change: Overrides) -> None:
    config = apply(quick(), given)
    changed = apply(config, change)
    assert changed != config
    assert twin_keys(changed, ABOUT) == twin_keys(config, ABOUT)
    # A key changes with every setting that its stage reads, but with a later one only where it acts.
    unread = set(LATER) | (set(flatten(config.unet, "unet.")) if config.network != "unet" else set())
    assert (settings_keys(changed, ABOUT) == settings_keys(config, ABOUT)) == (set(change) <= unread)


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (COSINE, {"diffusion.beta_min": 1e-3}),
        (COSINE, {"diffusion.beta_min": 1e-4}),
        (COSINE, {"diffusion.beta_max": 0.9}),
        (SIGMOID, {"diffusion.beta_min": 1e-3}),
        (SIGMOID, {"diffusion.beta_max": 0.9}),
        ({}, {"diffusion.zero_terminal_snr": True, "diffusion.prediction": "v"}),
        ({"diffusion.timesteps": 300}, {"diffusion.beta_scaling": "none"}),
        ({"unet.block": "convnext"}, {"unet.convnext_expansion": 4}),
        ({}, {"unet.attention_heads": 1}),
        ({"training.train_steps": 300, "training.ema_decay": 0.99}, {"training.ema_decay": 0.9}),
        ({"training.train_steps": 300, "training.ema_decay": 0.99}, {"training.ema_warmup": False}),
        ({"training.train_steps": 2000, "training.ema_decay": 0.99}, {"training.ema_decay": 0.9999}),
        ({"training.train_steps": 300, "training.warmup_steps": 299}, {"training.final_learning_rate": 0.1}),
        ({}, {"segmentation.noise_levels": (1.0,)}),
        ({}, {"unet.channels": (16, 32, 40)}),
        ({"unet.channels": (16, 32, 40)}, {"unet.base_channels": 24}),  # of the stem and the timestep's embedding
        ({}, {"unet.qk_norm": True}),
        ({}, {"unet.skip_scaling": 0.5}),
        ({}, {"training.flips": True}),
        ({}, {"training.self_conditioning": True}),
        ({"training.train_steps": 0}, {"training.self_conditioning": True}),
        ({"sampling.sampler": "ddpm"}, {"diffusion.learned_variance": True}),
        ({}, {"diffusion.prediction": "v"}),
        ({}, {"training.loss": "l1"}),
        ({}, MIN_SNR),
        (MIN_SNR, {"training.min_snr_gamma": 3.0}),
        (P2, {"training.p2_gamma": 0.5}),
        (P2, {"training.p2_k": 2.0}),
        ({}, {"segmentation.noise": "zero"}),
        ({}, {"segmentation.noise_draws": 3}),
        (OWN_BLOCK, {"unet.convnext_expansion": 4}),  # it may read it
        (OWN_BLOCK, {"unet.block_args.slope": 0.2}),
        (OWN_NETWORK, {"network_args.width": 8}),
    ],
    ids=str,
)
def test_configs_that_differ_in_what_acts_are_no_twins(given: Overrides, change: Overrides) -> None:
    config = apply(quick(), given)
    for keys in (twin_keys, settings_keys):
        assert keys(apply(config, change), ABOUT) != keys(config, ABOUT)


def test_of_multipliers_their_number_alone_acts_beside_channels() -> None:
    config = apply(quick(), {"unet.channels": (16, 32, 40)})
    other = apply(config, {"unet.channel_mults": (1, 1, 1)})
    assert twin_keys(other, ABOUT) == twin_keys(config, ABOUT)
    assert config.unet.level_channels == other.unet.level_channels == (16, 32, 40)


def test_what_a_pretrained_network_would_predict_makes_no_other_features() -> None:
    v = apply(bedroom(), {"diffusion.prediction": "v", "diffusion.learned_variance": True})
    assert twin_keys(v, ABOUT) == twin_keys(bedroom(), ABOUT)
    assert settings_keys(v, ABOUT) == settings_keys(bedroom(), ABOUT)


@pytest.mark.parametrize("steps", [1, 2, 100, 889, 890, 891, 1200])
@pytest.mark.parametrize("decay", [0.5, 0.99, 0.9999])
def test_decays_are_twins_exactly_where_they_are_the_same_at_every_step(steps: int, decay: float) -> None:
    one, other = (
        apply(quick(), {"training.train_steps": steps, "training.ema_decay": d}).training for d in (0.99, decay)
    )
    same = [ema_decay(one, step) for step in range(steps)] == [ema_decay(other, step) for step in range(steps)]
    keys = [
        twin_keys(apply(quick(), {"training.train_steps": steps, "training.ema_decay": t.ema_decay}), ABOUT)
        for t in (one, other)
    ]
    assert (keys[0] == keys[1]) == same


def test_what_is_canonical_stays_so() -> None:
    for config in (quick(), apply(quick(), COSINE), Config()):
        once = canonical(config)
        assert canonical(once) == once


def test_later_settings_are_there_and_are_no_part_of_a_key_where_they_stand_for_what_was_before() -> None:
    flat = {*flatten(Config()), *(f"{part}_args" for part in PARTS_WITH_ARGS)}
    assert set(LATER) <= flat | {name for name in LATER if name.startswith("pretrained.")}
    assert "weight_decay" not in keyed(Config().training)
    assert keyed([apply(Config(), {"training.weight_decay": 0.1}).training])[0]["weight_decay"] == 0.1


def test_a_study_keeps_its_name_when_a_setting_is_added() -> None:
    assert not set(LATER) & set(identified(quick()))
    assert identified(apply(quick(), {"training.weight_decay": 0.1}))["training.weight_decay"] == 0.1
    assert identified(apply(quick(), {"diffusion.beta_min": 1e-4}))["diffusion.beta_min"] == 1e-4


def test_decays_that_are_twins_give_one_average() -> None:
    from trainables.training import Trainer

    images = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8)
    averages = []
    for decay in (0.99, 0.9999):
        settings = {"training.train_steps": 3, "training.batch_size": 4, "training.ema_decay": decay}
        trainer = Trainer(apply(quick(), settings | {"unet.base_channels": 8}), images)
        list(trainer.run())
        averages.append(trainer.ema.state_dict())
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])
