"""Which settings each stage's key depends on: the table below is written from what the stages do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search_spaces.presets import bedroom
from trainables import stages
from trainables.config import Config, Overrides, apply, flatten
from trainables.data import About, about
from trainables.sections import Data, Pretrained, Segmentation
from trainables.stages import settings_keys, stage_keys, trial_key

BASE = Config()
ABOUT = about(BASE.data)
EVERY = {"ddpm", "samples", "reference", "fid", "segmentation"}
ALL = EVERY - {"reference"}  # that follow from the model
FROM_SAMPLES = {"samples", "fid"}

# Each setting: another value, and the stages whose output may change with it.
TABLE: dict[str, tuple[Any, set[str]]] = {
    "seed": (1, ALL),
    "stages": (("segmentation", "fid"), set()),
    "data.dataset": ("mnist", EVERY),
    "data.image_size": (32, EVERY),
    "network": ("torch.nn:Identity", ALL),
    "unet.base_channels": (24, ALL),
    "unet.channel_mults": ((1, 2, 3, 4), ALL),
    "unet.channels": ((64, 128, 256, 384), ALL),
    "unet.blocks_per_level": (3, ALL),
    "unet.block": ("convnext", ALL),
    "unet.norm": ("adagn", ALL),
    "unet.norm_groups": (4, ALL),
    "unet.attention_resolutions": ((8,), ALL),
    "unet.attention_heads": (2, ALL),
    "unet.convnext_expansion": (4, ALL),
    "unet.dropout": (0.1, ALL),
    "unet.qk_norm": (True, ALL),
    "unet.skip_scaling": (0.7, ALL),
    "pretrained": (None, set()),  # tested below: with one there is no DDPM of our own
    "diffusion.timesteps": (2000, ALL),
    "diffusion.beta_schedule": ("cosine", ALL),
    "diffusion.beta_start": (2e-4, ALL),
    "diffusion.beta_end": (0.03, ALL),
    "diffusion.beta_scaling": ("none", set()),  # at 1000 timesteps
    "diffusion.beta_min": (1e-3, set()),  # no cosine schedule
    "diffusion.beta_max": (0.99, ALL),
    "diffusion.zero_terminal_snr": (True, ALL),
    "diffusion.prediction": ("v", ALL),
    "diffusion.learned_variance": (True, ALL),
    "training.train_steps": (7, ALL),
    "training.batch_size": (7, ALL),
    "training.learning_rate": (7e-4, ALL),
    "training.warmup_steps": (7, ALL),
    "training.final_learning_rate": (0.7, ALL),
    "training.weight_decay": (0.7, ALL),
    "training.ema_decay": (0.7, ALL),
    "training.ema_warmup": (False, ALL),
    "training.grad_clip": (0.7, ALL),
    "training.precision": ("bf16", ALL),
    "training.loss": ("huber", ALL),
    "training.loss_weighting": ("min_snr", ALL),
    "training.min_snr_gamma": (4.0, set()),  # uniform weights
    "training.p2_gamma": (0.5, set()),
    "training.p2_k": (0.5, set()),
    "training.self_conditioning": (True, ALL),
    "training.flips": (True, ALL),
    "sampling.source": ("held_out", FROM_SAMPLES),
    "sampling.sampler": ("ddim", FROM_SAMPLES),
    "sampling.sampling_steps": (7, FROM_SAMPLES),
    "sampling.sampling_repeats": (7, FROM_SAMPLES),
    "sampling.samples": (7, FROM_SAMPLES),
    "sampling.batch_size": (7, FROM_SAMPLES),
    "fid.metrics": (("fid", "fid_digits"), {"reference", "fid"}),
    "fid.reference_images": (7, {"reference", "fid"}),
    "fid.nearest_k": (3, set()),  # no metric looks at neighbours
    "segmentation.features": ("pixels", {"segmentation"}),
    "segmentation.blocks": ((6, 7), {"segmentation"}),
    "segmentation.timesteps": ((50,), {"segmentation"}),
    "segmentation.noise_levels": ((1.0, -1.0), {"segmentation"}),
    "segmentation.noise": ("zero", {"segmentation"}),
    "segmentation.noise_draws": (2, {"segmentation"}),
    "segmentation.label_images": (7, {"segmentation"}),
    "segmentation.validation_images": (7, {"segmentation"}),
    "segmentation.held_out_images": (7, {"segmentation"}),
    "segmentation.ensemble_size": (7, {"segmentation"}),
    "segmentation.hidden_channels": ((7,), {"segmentation"}),
    "segmentation.pixel_order": ("by_image", {"segmentation"}),
    "segmentation.epochs": (7, {"segmentation"}),
    "segmentation.batch_size": (7, {"segmentation"}),
    "segmentation.learning_rate": (7e-4, {"segmentation"}),
    "segmentation.miou_rules": (("reference",), {"segmentation"}),
}
OTHERWISE = {"data.dataset", "network", "diffusion.zero_terminal_snr"}  # another one would change much else


def _changed(name: str, value: Any) -> Config:
    if name not in OTHERWISE:
        return apply(BASE, {name: value})
    section, _, leaf = name.partition(".")
    return BASE.model_copy(update={section: getattr(BASE, section).model_copy(update={leaf: value}) if leaf else value})


def _trial_key(config: Config) -> str:
    return trial_key(stage_keys(config, ABOUT))


def _differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {stage for stage in one.keys() | other.keys() if one.get(stage) != other.get(stage)}


def test_the_table_has_every_setting_at_another_value() -> None:
    base = flatten(BASE)
    assert list(TABLE) == list(base)
    assert [name for name, (value, _) in TABLE.items() if value == base[name]] == ["pretrained"]


@pytest.mark.parametrize("name", TABLE)
def test_setting_changes_the_keys_of_the_stages_that_read_it(name: str) -> None:
    value, expected = TABLE[name]
    changed = _changed(name, value)
    assert _differing(stage_keys(BASE, ABOUT), stage_keys(changed, ABOUT)) == expected
    assert (_trial_key(changed) != _trial_key(BASE)) == bool(expected)


@pytest.mark.parametrize("part", ["network", "unet.block", "unet.norm"])
def test_the_arguments_of_a_part_of_ones_own_are_in_the_keys_that_it_is_in(part: str) -> None:
    names = {"segmentation.blocks": ("layer.*",)} if part == "network" else {}
    plain = apply(BASE, {part: "torch.nn:Identity", **names})
    keys = [stage_keys(apply(plain, {f"{part}_args.slope": slope}), ABOUT) for slope in (0.1, 0.2, 0.2)]
    assert _differing(keys[0], keys[1]) == _differing(keys[0], stage_keys(plain, ABOUT)) == ALL
    assert keys[1] == keys[2]


def test_an_own_networks_keys_do_not_read_our_unets_settings() -> None:
    own = apply(BASE, {"network": "torch.nn:Identity", "segmentation.blocks": ("layer.*",)})
    assert stage_keys(apply(own, {"unet.base_channels": 24, "unet.block": "convnext"}), ABOUT) == stage_keys(own, ABOUT)


@pytest.mark.parametrize(("metric", "expected"), [("prdc_digits", {"reference", "fid"}), ("copies_digits", set())])
def test_which_neighbour_counts_is_in_the_keys_where_a_metric_asks(metric: str, expected: set[str]) -> None:
    asked = apply(BASE, {"fid.metrics": ("fid_digits", metric)})
    assert _differing(stage_keys(BASE, ABOUT), stage_keys(asked, ABOUT)) == {"reference", "fid"}
    assert _differing(stage_keys(asked, ABOUT), stage_keys(apply(asked, {"fid.nearest_k": 3}), ABOUT)) == expected


@pytest.mark.parametrize("stages_", [("fid",), ("segmentation",)])
def test_fewer_stages_have_the_same_keys(stages_: tuple[str, ...]) -> None:
    whole, part = stage_keys(BASE, ABOUT), stage_keys(apply(BASE, {"stages": stages_}), ABOUT)
    assert part.items() < whole.items()
    assert set(part) == {"ddpm", *stages_} | ({"samples", "reference"} if "fid" in stages_ else set())
    assert _trial_key(apply(BASE, {"stages": stages_})) != _trial_key(BASE)


@pytest.mark.parametrize(
    ("control", "keys"),
    [
        ({"sampling.source": "held_out", "stages": ("fid",)}, ["samples", "reference", "fid"]),
        ({"segmentation.features": "pixels", "stages": ("segmentation",)}, ["segmentation"]),
        ({"sampling.source": "held_out"}, ["ddpm", "samples", "reference", "fid", "segmentation"]),
        ({"segmentation.features": "pixels"}, ["ddpm", "samples", "reference", "fid", "segmentation"]),
    ],
    ids=str,
)
def test_stages_run_after_those_that_they_read(control: Overrides, keys: list[str]) -> None:
    assert list(stage_keys(apply(BASE, control), ABOUT)) == keys


@pytest.mark.parametrize(
    "control",
    [
        {"sampling.source": "held_out", "stages": ("fid",)},
        {"segmentation.features": "pixels", "stages": ("segmentation",)},
    ],
    ids=str,
)
def test_controls_read_the_seed_and_no_model(control: Overrides) -> None:
    keys = stage_keys(apply(BASE, control), ABOUT)
    model = {"unet.base_channels": 24, "training.train_steps": 7, "diffusion.beta_schedule": "cosine"}
    assert stage_keys(apply(BASE, {**control, **model}), ABOUT) == keys
    assert _differing(stage_keys(apply(BASE, {**control, "seed": 1}), ABOUT), keys) == set(keys) - {"reference"}


def test_other_files_change_every_stage() -> None:
    facts = {**vars(ABOUT), "fingerprint": "another"}
    assert _differing(stage_keys(BASE, ABOUT), stage_keys(BASE, About(**facts))) == EVERY


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("ddpm", ALL),
        ("samples", FROM_SAMPLES),
        ("reference", {"reference", "fid"}),
        ("fid", {"fid"}),
        ("segmentation", {"segmentation"}),
    ],
)
def test_raised_format_changes_the_stage_and_what_follows(
    stage: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stage_keys(BASE, ABOUT)
    monkeypatch.setattr(stages.BY_NAME[stage], "FORMAT", stages.BY_NAME[stage].FORMAT + 1)
    assert _differing(stage_keys(BASE, ABOUT), before) == expected


def test_keys_differ_between_stages() -> None:
    keys = stage_keys(BASE, ABOUT)
    assert len(set(keys.values())) == len(keys) == len(EVERY)


def test_a_pretrained_networks_key_is_its_settings_and_its_weights() -> None:
    keys = stage_keys(BEDROOM, ABOUT)
    assert list(keys) == ["segmentation"]
    for name, value in {"weights": "0" * 64, "num_head_channels": 32, "learn_sigma": False}.items():
        assert stage_keys(apply(BEDROOM, {f"pretrained.{name}": value}), ABOUT) != keys
    assert stage_keys(apply(BEDROOM, {"unet.base_channels": 24, "training.train_steps": 7}), ABOUT) == keys
    assert stage_keys(apply(BEDROOM, {"diffusion.beta_schedule": "cosine"}), ABOUT) != keys


def test_keys_do_not_depend_on_the_order_that_a_process_has_its_sets_in() -> None:
    code = (
        "from trainables.config import Config; from trainables.data import about; from trainables.stages import *;"
        "config = Config(); print(stage_keys(config, about(config.data)), whole_code())"
    )
    root, keys = Path(__file__).parents[3], set[str]()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        keys.add(subprocess.check_output([sys.executable, "-c", code], cwd=root, env=environment, text=True))
    assert len(keys) == 1


def test_a_stage_needs_only_those_that_run_before_it() -> None:
    order = [stage.NAME for stage in stages.STAGES]
    assert set(order) == EVERY
    for stage in stages.STAGES:
        assert all(order.index(name) < order.index(stage.NAME) for name in stage.needs(BASE))


# What the stores of earlier versions hold: whoever changes a key makes every user train again, and says so.
PIXELS = {"segmentation.features": "pixels", "stages": ("segmentation",)}
REAL = {"sampling.source": "held_out", "stages": ("fid",)}
BEDROOM = Config(
    stages=("segmentation",),
    data=Data(image_size=64),
    pretrained=Pretrained(),
    segmentation=Segmentation(blocks=(5, 6)),
)
EARLIER: list[tuple[Config, dict[str, str]]] = [
    (
        BASE,
        {
            "ddpm": "8965b0468a68cdeb685e",
            "samples": "ed7ac9a13e1e57b82881",
            "reference": "f7fe3163ddb2ecb3aeb3",
            "fid": "8d5a86608f01cf5cc3e1",
            "segmentation": "a9ce51b8ad1d0fde3907",
        },
    ),
    (BEDROOM, {"segmentation": "8dac8d8d4bd398ce9e11"}),
    (
        apply(BASE, REAL),
        {"samples": "92cde60a12320f6d1389", "reference": "f7fe3163ddb2ecb3aeb3", "fid": "467aeed30b411a18241d"},
    ),
    (apply(BASE, PIXELS), {"segmentation": "deed2b5cf9d5a9ec872e"}),
]


@pytest.mark.parametrize(("config", "keys"), EARLIER, ids=["baseline", "bedroom", "real_images", "raw_pixels"])
def test_keys_are_those_of_earlier_stores(config: Config, keys: dict[str, str]) -> None:
    about = About(1, ("a", "b"), 1097, 200, 500, "fingerprint")
    assert settings_keys(config, about) == keys
    # The second part is that of the code; what was made before it was recorded is found by the first.
    today = stage_keys(config, about)
    assert {stage: key.partition("-")[0] for stage, key in today.items()} == keys
    assert stage_keys(config, about, dict.fromkeys(keys, "")) == keys


BEDROOM = bedroom()


@pytest.mark.parametrize(
    "changes", [{"num_head_channels": -1, "num_heads": 4}, {"use_new_attention_order": True}], ids=["heads", "order"]
)
def test_what_no_shape_of_a_checkpoint_tells_is_in_the_key(changes: dict[str, object]) -> None:
    about = About(1, ("a", "b"), 1097, 200, 500, "fingerprint")
    changed = apply(BEDROOM, {f"pretrained.{name}": value for name, value in changes.items()})
    assert settings_keys(changed, about) != settings_keys(BEDROOM, about)
