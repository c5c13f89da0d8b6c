"""The settings: the override language, what is refused and in which words, and the paper's arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from search_spaces.presets import ABLATIONS, SEGMENTATION, quick
from trainables.config import Config, ConfigError, apply, flatten, references
from trainables.sections import Data, Segmentation, UNet

ROOT = Path(__file__).parents[2]
SMALL = Config(
    data=Data(image_size=16),
    unet=UNet(base_channels=16, channel_mults=(1, 2, 2), attention_resolutions=(8, 4), attention_heads=2),
    segmentation=Segmentation(blocks=(5, 6, 7)),
)

OWN_BLOCK = {"unet.block": "blocks.py:Leaky"}
OWN_NETWORK = {"network": "net.py:Net"}

REFUSED = [
    # unknown names
    ({"unet.blok": "convnext"}, ["unet.blok", "did you mean unet.block?"]),
    ({"training.qqqqqqqqqqqq": 1}, ["training.qqqqqqqqqqqq", "allowed: training.train_steps, training.batch_size"]),
    ({"unet": {}}, ["unknown setting 'unet'"]),
    # wrong types
    ({"unet.base_channels": "wide"}, ["unet.base_channels", "integer", "'wide'"]),
    ({"unet.base_channels": 16.5}, ["unet.base_channels", "integer", "16.5"]),
    (
        {"unet.block": "transformer"},
        [
            "unet.block must be resnet, convnext, or a part of your own",
            "file.py:Name",
            "package.module:Name",
            "'transformer'",
        ],
    ),
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
        {"sampling.samples": 5, "fid.metrics": ("fid_digits", "prdc_digits")},
        ["sampling.samples", "at least 6", "for these fid.metrics", "5"],
    ),
    (
        {"fid.reference_images": 9, "fid.metrics": ("prdc_digits",), "fid.nearest_k": 9},
        ["fid.reference_images", "0, for all, or at least 10", "9"],
    ),
    ({"fid.metrics": ("precision_digits",)}, ["fid.metrics", "prdc_digits, copies_digits", "'precision_digits'"]),
    ({"fid.metrics": ("prdc_digits", "my.py:recall_digits")}, ["fid.metrics", "differ", "recall_digits"]),
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
    # parts of one's own
    ({"unet.norm": "../a.py:B"}, ["unet.norm must be group, adagn, or a part of your own", "'../a.py:B'"]),
    ({"network": "unet2d"}, ["network must be unet, or a part of your own", "'unet2d'"]),
    ({"unet.block": 7}, ["unet.block", "string", "7"]),
    ({"unet.block_args.slope": 0.2}, ["unet.block_args count only with a part of your own", "resnet", "0.2"]),
    ({"network_args.width": 8}, ["network_args count only with a part of your own", "network is unet", "8"]),
    (OWN_BLOCK | {"unet.block_args.slope": float("nan")}, ["unet.block_args", "plain values", "nan"]),
    (OWN_BLOCK | {"unet.block_args.slope": object()}, ["unet.block_args", "plain values", "object object"]),
    (OWN_BLOCK | {"unet.block_args": 3}, ["unet.block_args", "dictionary", "3"]),
    (OWN_BLOCK | {"unet.block_args.2x": 3}, ["unet.block_args", "match pattern"]),
    (OWN_BLOCK | {"unet.block_args.a.b": 3}, ["unknown setting 'unet.block_args.a.b'"]),
    (
        OWN_BLOCK | {"unet.blok_args.slope": 3},
        ["unknown setting 'unet.blok_args.slope'", "mean unet.block_args"],
    ),
    (OWN_NETWORK, ["segmentation.blocks must be names of modules of net.py:Net", "[5, 6, 7]"]),
    (OWN_NETWORK | {"segmentation.blocks": ("up.*", 6)}, ["segmentation.blocks must be names of modules", "'up.*', 6"]),
    ({"segmentation.blocks": ("up blocks",)}, ["segmentation.blocks", "'up blocks'"]),
    ({"segmentation.blocks": ("up..0",)}, ["segmentation.blocks", "'up..0'"]),
    ({"segmentation.noise_draws": 0}, ["segmentation.noise_draws", "greater than or equal to 1", "0"]),
    ({"segmentation.noise": "none"}, ["segmentation.noise", "'drawn' or 'zero'", "'none'"]),
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
        {"segmentation.blocks": ("upsample.*", "middle.0")},
        OWN_NETWORK | {"segmentation.blocks": ("up_blocks.*",), "data.image_size": 18},  # as our U-Net is not made
        OWN_NETWORK | {"stages": ("fid",)},  # then nothing reads segmentation.blocks
        OWN_NETWORK | {"segmentation.features": "pixels"},
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


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ((16, 24), r"unet\.channels must be 3, one a level of channel_mults, but got \[16, 24\]"),
        ((16, 24, 36), r"unet\.norm_groups must divide each of \[16, 16, 24, 36\], but got 8"),
        ((16, 0, 32), r"unet\.channels"),
    ],
)
def test_channels_are_one_a_level_and_divide_into_groups(channels: tuple[int, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        apply(SMALL, {"unet.channels": channels})


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
        {"sampling.samples": 2, "fid.metrics": ("copies_digits",)},
        {"sampling.samples": 6, "fid.metrics": ("prdc_digits",), "fid.reference_images": 6},
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


OWN = apply(SMALL, {"unet.block": "blocks.py:Leaky", "unet.block_args.slope": 0.2, "unet.norm": "package.norms:Norm"})


def test_arguments_of_a_part_are_set_one_by_one_and_shown_one_by_one() -> None:
    both = apply(OWN, {"unet.block_args.groups": [1, 2]})
    assert both.unet.block_args == {"slope": 0.2, "groups": [1, 2]}
    shown = {name: value for name, value in flatten(both).items() if "_args" in name}
    assert shown == {"unet.block_args.slope": 0.2, "unet.block_args.groups": [1, 2]}
    assert apply(both, {"unet.block_args": {"slope": 0.3}}).unet.block_args == {"slope": 0.3}
    assert OWN.unet.block_args == {"slope": 0.2}


def test_another_part_begins_without_the_arguments_of_the_one_before() -> None:
    assert apply(OWN, {"unet.block": "resnet"}).unet.block_args == {}
    other = apply(OWN, {"unet.block_args.width": 3, "unet.block": "blocks.py:Other"})
    assert other.unet.block_args == {"width": 3}
    assert apply(OWN, {"unet.norm": "adagn"}).unet.block_args == {"slope": 0.2}


@pytest.mark.parametrize("config", [OWN, apply(SMALL, OWN_NETWORK | {"segmentation.blocks": ("a.*",)})], ids=["b", "n"])
def test_a_config_with_parts_comes_back_from_json_and_from_its_flat_form(config: Config) -> None:
    assert Config.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    assert apply(Config(), flatten(config)) == config
    assert hash(Config.model_validate(config.model_dump(mode="json"))) == hash(config)


def test_references_are_the_settings_that_name_a_part_of_ones_own() -> None:
    assert references(SMALL) == {}
    assert references(OWN) == {"unet.block": "blocks.py:Leaky", "unet.norm": "package.norms:Norm"}


def test_a_pretrained_network_goes_with_no_network_of_ones_own() -> None:
    with pytest.raises(ConfigError, match="network must be unet with a pretrained network, but got"):
        apply(SEGMENTATION["bedroom"](), {"network": "a.py:Net"})
