"""The settings: the override language, what is refused and in which words, and the paper's arithmetic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from search_spaces.presets import ABLATIONS, SEGMENTATION, quick
from trainables.config import Config, ConfigError, apply, flatten
from trainables.sections import Data, Segmentation, UNet

ROOT = Path(__file__).parents[2]
SMALL = Config(
    data=Data(image_size=16),
    unet=UNet(base_channels=16, channel_mults=(1, 2, 2), attention_resolutions=(8, 4), attention_heads=2),
    segmentation=Segmentation(blocks=(5, 6, 7)),
)

REFUSED = [
    # unknown names
    ({"unet.blok": "convnext"}, ["unet.blok", "did you mean unet.block?"]),
    ({"training.qqqqqqqqqqqq": 1}, ["training.qqqqqqqqqqqq", "allowed: training.train_steps, training.batch_size"]),
    ({"unet": {}}, ["unknown setting 'unet'"]),
    # wrong types
    ({"unet.base_channels": "wide"}, ["unet.base_channels", "integer", "'wide'"]),
    ({"unet.base_channels": 16.5}, ["unet.base_channels", "integer", "16.5"]),
    ({"unet.block": "transformer"}, ["unet.block", "'resnet' or 'convnext'", "'transformer'"]),
    ({"segmentation.timesteps": 50}, ["segmentation.timesteps", "tuple", "50"]),
    ({"diffusion.beta_end": float("nan")}, ["diffusion.beta_end", "finite", "nan"]),
    # out of range
    ({"seed": -1}, ["seed", "greater than or equal to 0", "-1"]),
    ({"data.image_size": 4}, ["data.image_size", "greater than or equal to 8", "4"]),
    ({"unet.base_channels": 12}, ["unet.base_channels", "multiple of 8", "12"]),
    ({"unet.channel_mults": ()}, ["unet.channel_mults", "at least 1", "()"]),
    ({"unet.channel_mults": (1, 0, 2)}, ["unet.channel_mults", "greater than or equal to 1", "0"]),
    ({"unet.dropout": 1.0}, ["unet.dropout", "less than 1", "1.0"]),
    ({"training.learning_rate": 0.0}, ["training.learning_rate", "greater than 0", "0.0"]),
    ({"training.final_learning_rate": 1.1}, ["training.final_learning_rate", "less than or equal to 1", "1.1"]),
    ({"segmentation.timesteps": (50, -1)}, ["segmentation.timesteps", "greater than or equal to 0", "-1"]),
    ({"stages": ()}, ["stages", "at least 1", "()"]),
    # contradictions
    ({"diffusion.beta_start": 0.02}, ["diffusion.beta_end", "above beta_start=0.02", "0.02"]),
    ({"data.image_size": 18}, ["data.image_size", "multiple of 4", "18"]),
    ({"unet.norm_groups": 3}, ["unet.norm_groups", "[16, 16, 32, 32]", "3"]),
    ({"unet.attention_resolutions": (8, 5)}, ["unet.attention_resolutions", "[16, 8, 4]", "5"]),
    ({"unet.attention_heads": 3}, ["unet.attention_heads", "divide", "32", "3"]),
    ({"unet.skip_scaling": 0.0}, ["unet.skip_scaling", "greater than 0", "0.0"]),
    (
        {"unet.qk_norm": True, "unet.attention_heads": 32},
        ["unet.attention_heads", "two channels or more with qk_norm", "32"],
    ),
    ({"segmentation.timesteps": (50, 1000)}, ["segmentation.timesteps", "at most 999", "1000"]),
    ({"diffusion.timesteps": 150}, ["segmentation.timesteps", "at most 149", "150"]),
    ({"segmentation.blocks": (7, 8)}, ["segmentation.blocks", "[5, 6, 7]", "8"]),
    ({"segmentation.blocks": (4, 5)}, ["segmentation.blocks", "[5, 6, 7]", "4"]),
    ({"segmentation.blocks": (6, 6)}, ["segmentation.blocks", "repeat", "[6, 6]"]),
    ({"segmentation.timesteps": (50, 50)}, ["segmentation.timesteps", "repeat", "[50, 50]"]),
    ({"segmentation.noise_levels": (1.0, 1.0)}, ["segmentation.noise_levels", "repeat", "[1.0, 1.0]"]),
    ({"diffusion.timesteps": 20}, ["diffusion.timesteps", "above 20", "beta_end=0.02", "but got 20"]),
    ({"fid.reference_images": 1}, ["fid.reference_images", "0, for all, or at least 2", "1"]),
    ({"sampling.samples": 3}, ["sampling.samples", "at least 4", "3"]),
    (
        {"segmentation.label_images": 2, "segmentation.batch_size": 513},
        ["segmentation.batch_size", "at most the 512 pixels of the label_images", "513"],
    ),
    (
        {"segmentation.pixel_order": "by_image", "segmentation.batch_size": 257},
        ["segmentation.batch_size", "at most the 256 pixels of an image", "257"],
    ),
    ({"diffusion.zero_terminal_snr": True}, ["diffusion.prediction", "v or x_0 with zero_terminal_snr", "got eps"]),
    (
        {"diffusion.zero_terminal_snr": True, "diffusion.prediction": "v", "training.loss_weighting": "min_snr"},
        ["training.loss_weighting", "uniform with diffusion.zero_terminal_snr", "min_snr"],
    ),
    (
        {"diffusion.learned_variance": True, "sampling.sampler": "ddim"},
        ["sampling.sampler", "ddpm with diffusion.learned_variance", "ddim"],
    ),
    ({"sampling.sampling_steps": 1001}, ["sampling.sampling_steps", "at most", "1000", "1001"]),
]

HEADS = [
    ({"pretrained.num_heads": 4}, ["pretrained.num_heads", "counts only with num_head_channels=-1", "4 beside 64"]),
    ({"pretrained.num_heads_upsample": 4}, ["pretrained.num_heads_upsample", "num_head_channels=-1", "4 beside 64"]),
    ({"pretrained.num_head_channels": -1}, ["pretrained.num_heads must be given", "num_head_channels is -1"]),
    ({"pretrained.num_head_channels": 0}, ["pretrained.num_head_channels", "divide 256", "or be -1", "got 0"]),
    ({"pretrained.num_head_channels": 48}, ["pretrained.num_head_channels", "divide 256", "48"]),
    ({"pretrained.num_head_channels": -1, "pretrained.num_heads": 3}, ["pretrained.num_heads", "divide 256", "3"]),
    ({"pretrained.num_head_channels": -1, "pretrained.num_heads": True}, ["num_heads", "true or false", "True"]),
]


@pytest.mark.parametrize(("overrides", "words"), HEADS, ids=lambda x: str(x)[:60])
def test_heads_that_would_not_count_are_refused(overrides: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(SEGMENTATION["bedroom"](), overrides)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_heads_may_be_given_by_their_number() -> None:
    changes = {"num_head_channels": -1, "num_heads": 4, "num_heads_upsample": 8, "use_new_attention_order": True}
    config = apply(SEGMENTATION["bedroom"](), {f"pretrained.{name}": value for name, value in changes.items()})
    assert config.pretrained is not None
    assert config.pretrained.model_dump().items() >= changes.items()


def test_a_pretrained_network_predicts_nothing_that_could_be_refused() -> None:
    assert apply(SEGMENTATION["bedroom"](), {"diffusion.zero_terminal_snr": True}).diffusion.zero_terminal_snr


@pytest.mark.parametrize(("overrides", "words"), REFUSED, ids=lambda x: str(x)[:60])
def test_refusal_is_one_line_that_names_the_setting_and_what_is_allowed(overrides: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(SMALL, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    "overrides",
    [
        {"segmentation.timesteps": (0, 999)},
        {"sampling.sampling_steps": 1000},
        {"unet.attention_resolutions": (16, 8, 4)},
        {"unet.attention_heads": 3, "unet.attention_resolutions": ()},
        {"training.train_steps": 0},
        {"diffusion.zero_terminal_snr": True, "diffusion.prediction": "x_0"},
    ],
    ids=str,
)
def test_limits_themselves_are_allowed(overrides: dict) -> None:
    assert overrides.items() <= flatten(apply(SMALL, overrides)).items()


@pytest.mark.parametrize("config", [Config(), *(preset() for preset in (ABLATIONS | SEGMENTATION).values())])
def test_flatten_and_apply_are_inverse(config: Config) -> None:
    assert apply(Config(), flatten(config)) == config


def test_apply_changes_the_named_settings_and_nothing_else() -> None:
    overrides = {"seed": 3, "unet.block": "convnext", "segmentation.blocks": [5, 7]}
    before, after = flatten(SMALL), flatten(apply(SMALL, overrides))
    assert {name: after[name] for name in after if after[name] != before[name]} == {
        "seed": 3,
        "unet.block": "convnext",
        "segmentation.blocks": (5, 7),
    }


def test_apply_leaves_the_config_that_it_is_given_alone() -> None:
    before = flatten(SMALL)
    apply(SMALL, {"unet.base_channels": 32})
    assert flatten(SMALL) == before


def test_contradiction_between_two_overrides_is_judged_together() -> None:
    # Either alone is refused for a network of three levels: only both fit.
    deeper = apply(SMALL, {"segmentation.blocks": (6, 9), "unet.channel_mults": (1, 1, 2, 2)})
    assert deeper.unet.up_blocks == (6, 7, 8, 9)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SMALL.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        SMALL.unet.base_channels = 8


def test_config_is_imported_without_torch() -> None:
    code = "import sys, trainables.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_papers_arithmetic() -> None:
    unet = UNet(base_channels=64, channel_mults=(1, 2, 4, 8))
    assert unet.up_blocks == (6, 7, 8, 9)
    assert unet.level_channels == (64, 128, 256, 512)


def test_the_default_is_the_paper() -> None:
    config = Config()
    assert (config.unet.base_channels, config.unet.channel_mults) == (64, (1, 2, 4, 8))
    assert (config.segmentation.blocks, config.segmentation.timesteps) == ((6, 7, 8, 9), (50, 150, 250))
    assert (config.diffusion.timesteps, config.diffusion.beta_schedule, config.sampling.sampling_repeats) == (
        1000,
        "linear",
        3,
    )


def test_norm_groups_must_divide_the_base_channels() -> None:
    with pytest.raises(ConfigError, match=r"unet\.norm_groups"):
        apply(SMALL, {"unet.base_channels": 8, "unet.channel_mults": (2, 2, 2), "unet.norm_groups": 16})


def test_cosine_clips_must_not_cross() -> None:
    overrides = {"diffusion.beta_schedule": "cosine", "diffusion.beta_min": 0.01, "diffusion.beta_max": 0.005}
    with pytest.raises(ConfigError, match=r"diffusion\.beta_max"):
        apply(SMALL, overrides)


def test_the_fid_stage_needs_a_metric() -> None:
    with pytest.raises(ConfigError, match=r"fid\.metrics"):
        apply(SMALL, {"fid.metrics": ()})


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling.samples": 4},
        {"sampling.samples": 2, "fid.metrics": ("kid",)},
        {"sampling.samples": 2, "stages": ("segmentation",)},
        {"fid.reference_images": 2},
        {"diffusion.learned_variance": True, "sampling.sampler": "ddpm"},
        {"diffusion.learned_variance": True, "stages": ("segmentation",)},
        {"fid.reference_images": 1, "stages": ("segmentation",)},
        {"segmentation.label_images": 2, "segmentation.batch_size": 512},
        {"segmentation.noise_levels": (1.0, -1.0), "diffusion.timesteps": 150},
        {"diffusion.timesteps": 25, "segmentation.timesteps": (5,), "sampling.sampling_steps": 20},
    ],
    ids=str,
)
def test_what_can_be_measured_is_taken(changes: dict[str, object]) -> None:
    apply(quick(), changes)
