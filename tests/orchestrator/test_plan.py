from pathlib import Path

import pytest

from orchestrator import plan
from orchestrator.errors import UsageError
from orchestrator.session import makers_first
from search_spaces.ablations import CONTROLS, VARIANTS
from search_spaces.segmentation import CONFIGURATIONS
from search_spaces.spaces import ABLATIONS, SEGMENTATION


def study(tiny, new=(), space=ABLATIONS, **kwargs):
    return plan.build(plan.Request(space, settings=tiny, new=list(new), **kwargs))


def test_every_variant_and_control_has_a_trial_for_each_seed(tiny):
    trials = study(tiny, seeds=[0, 3]).trials
    names = [*VARIANTS, *CONTROLS]
    assert sorted(t.name for t in trials) == sorted(f"{n}-seed{s}" for n in names for s in (0, 3))
    assert len({t.key for t in trials}) == len(trials)


def test_the_baseline_is_in_even_if_it_is_not_asked_for(tiny):
    assert [t.variant for t in study(tiny, chosen=["cosine"]).trials][:2] == ["baseline", "cosine"]


def test_another_baseline_is_another_study_and_another_seed_is_not(tiny):
    name = study(tiny).name
    assert study(tiny, seeds=[1, 2]).name == name
    assert study(tiny, chosen=["adagn"]).name == name
    assert study(tiny | {"training.batch_size": 9}).name != name


def test_trials_share_the_stages_that_they_share(tiny):
    stages = {t.variant: t.stages for t in study(tiny).trials}
    assert stages["baseline"]["ddpm"] != stages["cosine"]["ddpm"]
    assert "ddpm" not in stages["raw_pixels"]
    assert "segmentation" not in stages["real_images"]


def test_a_control_of_a_stage_that_the_study_leaves_out_is_left_out_too(tiny):
    variants = {t.variant for t in study(tiny | {"stages": ["segmentation"]}).trials}
    assert "real_images" not in variants
    assert "raw_pixels" in variants


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        ({}, "changes nothing"),
        ({"unet.norm": "group"}, "changes nothing"),
        ({"unet.norm": "adagn"}, "the same as variant adagn"),
        ({"unet.nrom": "adagn"}, "did you mean unet.norm"),
        ({"segmentation.timesteps": [1000]}, "at most 999"),
        ({"segmentation.label_images": 181}, "at most 200"),
    ],
)
def test_a_variant_that_cannot_be_is_named_with_the_reason(tiny, delta, said):
    with pytest.raises(UsageError, match=f"variant mine: .*{said}"):
        study(tiny, [("mine", delta)])


def test_a_variant_that_the_baseline_makes_void_is_left_out_and_named_unless_it_was_asked_for(tiny):
    cosine = tiny | {"diffusion.beta_schedule": "cosine"}
    (why,) = study(cosine).left_out
    assert why.startswith("variant cosine: changes nothing")
    assert "cosine" not in {t.variant for t in study(cosine).trials}
    assert not study(tiny).left_out
    with pytest.raises(UsageError, match="variant cosine: changes nothing"):
        study(cosine, chosen=["cosine"])


def test_a_variant_of_what_no_stage_uses_is_left_out_unless_it_was_asked_for(tiny):
    unused = tiny | {"stages": ("fid",)}
    assert [t.variant for t in study(unused, space=SEGMENTATION).trials if t.kind == "variant"] == ["baseline"]
    assert "one_member: the stages ddpm, samples, reference, fid make no use of it; it would repeat baseline" in str(
        study(unused, space=SEGMENTATION).left_out
    )
    with pytest.raises(UsageError, match="variant one_member: the stages"):
        study(unused, space=SEGMENTATION, chosen=["one_member"])


def test_a_configuration_that_the_data_are_too_few_for_is_left_out_unless_it_was_asked_for(tiny):
    many = tiny | {"segmentation.validation_images": 30}
    (why,) = [why for why in study(many, space=SEGMENTATION).left_out if "more_labels" in why]
    assert "at most 200" in why
    with pytest.raises(UsageError, match="variant more_labels"):
        study(many, space=SEGMENTATION, chosen=["more_labels"])


def test_a_heat_map_beyond_the_last_timestep_is_refused_and_the_usual_one_is_cut(tiny):
    short = tiny | {"diffusion.timesteps": 300}
    with pytest.raises(UsageError, match="--heat-map: must be timesteps from 0 to 299, but got 300"):
        study(short, space=SEGMENTATION, chosen=["by_image"], heat_map=[10, 300])
    cells = [
        t.config.segmentation.timesteps
        for t in study(short, space=SEGMENTATION, heat_map=None).trials
        if t.kind == "probe"
    ]
    assert set(cells) == {(10,), (50,), (150,), (250,)}


@pytest.mark.parametrize("name", ["baseline", "adagn", "untrained", "a/b", "", "-x", "ü"])
def test_a_new_variant_needs_a_free_and_plain_name(name):
    with pytest.raises(UsageError):
        plan.with_new(VARIANTS, [(name, {"unet.dropout": 0.1})])


def test_a_variant_on_the_command_line_reads_like_one_in_the_file():
    assert plan.parse_variant(
        "wide: unet.base_channels=96, segmentation.blocks=[6, 7],training.learning_rate=1e-4"
    ) == (
        "wide",
        {"unet.base_channels": 96, "segmentation.blocks": [6, 7], "training.learning_rate": "1e-4"},
    )


@pytest.mark.parametrize("text", ["wide", "wide:", "wide: unet.base_channels", "wide: =3", "wide: a=1, a=2", "w: x=[1"])
def test_a_variant_of_another_form_is_refused(text):
    with pytest.raises(UsageError):
        plan.parse_variant(text)


def test_a_file_of_variants(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("wide: {unet.base_channels: 96}\nslow:\n  training.learning_rate: 1e-4\n")
    assert list(plan.read_variants(path)) == ["wide", "slow"]


@pytest.mark.parametrize(
    "content",
    ["- a", "wide: 3", "wide: {a: 1", "\xff\xfe", "yes: {a: 1}", "w: {a: 1}\nw: {b: 1}", "w: {a: 1, a: 2}", "[" * 5000],
)
def test_a_file_that_holds_no_variants_is_refused_by_name(tmp_path: Path, content: str):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        plan.read_variants(path)


def test_the_seed_is_not_a_setting_of_a_variant():
    with pytest.raises(UsageError, match="--seeds"):
        plan.with_new(VARIANTS, [("mine", {"seed": 3})])
    with pytest.raises(UsageError, match="--seeds"):
        plan.parse_settings(["seed=3"])


def test_a_segmentation_study_trains_one_ddpm_for_all_its_configurations(tiny):
    trials = study(
        tiny | {"segmentation.blocks": [4, 5]}, space=SEGMENTATION, chosen=["by_image", "one_timestep"]
    ).trials
    trained = {t.variant: t.stages["ddpm"] for t in trials if "ddpm" in t.stages and t.kind == "variant"}
    assert set(trained) == {"baseline", "by_image", "one_timestep"}
    assert len(set(trained.values())) == 1
    assert {t.variant for t in trials if t.kind == "control"} == {"untrained", "raw_pixels"}
    assert {stage for t in trials for stage in t.stages} == {"ddpm", "segmentation"}


def test_a_heat_map_has_a_trial_for_each_block_and_timestep_alone(tiny):
    cells = [
        t for t in study(tiny, space=SEGMENTATION, chosen=["by_image"], heat_map=(10, 500)).trials if t.kind == "probe"
    ]
    assert [t.variant for t in cells] == ["block4-t10", "block4-t500", "block5-t10", "block5-t500"]
    assert cells[1].config.segmentation.blocks == (4,)
    assert cells[1].config.segmentation.timesteps == (500,)


def test_a_ddpm_is_shared_by_both_kinds_of_study(tiny):
    ablations, segmentation = (
        next(t for t in study(tiny, space=space, chosen=["baseline"]).trials if t.variant == "baseline")
        for space in (ABLATIONS, SEGMENTATION)
    )
    assert ablations.stages["ddpm"] == segmentation.stages["ddpm"]


@pytest.mark.parametrize("preset", CONFIGURATIONS)
def test_every_preset_has_its_configurations(preset):
    assert "baseline" in CONFIGURATIONS[preset]
    assert len(CONFIGURATIONS[preset]) >= 8


def test_the_papers_figures_stand_beside_its_preset_only(tiny):
    paper = study({}, preset="paper").trials
    assert {t.variant: dict(t.published) for t in paper if t.published}["convnext"] == {"fid": 44.001}
    assert not any(t.published for t in study({"training.train_steps": 5}, preset="paper").trials)
    assert not any(t.published for t in study(tiny).trials)


def test_trials_that_train_a_ddpm_of_their_own_come_first(tiny):
    trials = study(tiny, space=SEGMENTATION, chosen=["by_image", "one_member"], seeds=[0, 1]).trials
    ordered = makers_first(trials)
    assert sorted(t.name for t in ordered) == sorted(t.name for t in trials)
    assert [t.name for t in ordered[:4]] == ["baseline-seed0", "untrained-seed0", "baseline-seed1", "untrained-seed1"]
