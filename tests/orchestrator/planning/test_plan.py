from dataclasses import replace

import pytest

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from search_spaces.ablations import CONTROLS, SUITES, VARIANTS
from search_spaces.spaces import ABLATIONS, SEGMENTATION


def study(tiny, new=(), space=ABLATIONS, **kwargs):
    return plan.build(Request(space, settings=tiny, new=list(new), **kwargs))


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


def test_other_data_are_another_study(tiny):
    facts = study(tiny).about
    request = Request(ABLATIONS, settings=tiny)
    assert plan.build(request, facts).name == study(tiny).name
    other = plan.build(request, replace(facts, fingerprint="of other files"))
    assert other.name != study(tiny).name
    assert not {t.key for t in other.trials} & {t.key for t in study(tiny).trials}


def test_a_seed_that_is_given_twice_is_one_seed(tiny):
    assert [t.name for t in study(tiny, seeds=[3, 0, 3, 0]).trials] == [
        t.name for t in study(tiny, seeds=[3, 0]).trials
    ]
    assert len(study(tiny, seeds=[3, 0]).trials) == 2 * len(study(tiny).trials)


def test_a_seed_below_0_is_refused(tiny):
    with pytest.raises(UsageError, match="--seeds: must be 0 or more, but got -1"):
        study(tiny, seeds=[0, -1])


def test_trials_share_the_stages_that_they_share(tiny):
    stages = {t.variant: t.stages for t in study(tiny).trials}
    assert stages["baseline"]["ddpm"] != stages["cosine"]["ddpm"]
    assert "ddpm" not in stages["raw_pixels"]
    assert "segmentation" not in stages["real_images"]


def test_a_control_of_a_stage_that_the_study_leaves_out_is_left_out_too(tiny):
    variants = {t.variant for t in study(tiny | {"stages": ["segmentation"]}).trials}
    assert "real_images" not in variants
    assert "raw_pixels" in variants


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


def test_the_seed_is_not_a_setting_of_a_variant(tiny):
    with pytest.raises(UsageError, match="variant mine: the seed is given by --seeds"):
        study(tiny, [("mine", {"seed": 3})])


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


def test_the_papers_figures_stand_beside_its_preset_only(tiny):
    paper = study({}, preset="paper").trials
    assert {t.variant: dict(t.published) for t in paper if t.published}["convnext"] == {"fid": 44.001}
    assert not any(t.published for t in study({"training.train_steps": 5}, preset="paper").trials)
    assert not any(t.published for t in study(tiny).trials)


def test_another_seed_is_another_search(tiny):
    searches = [
        plan.search(Request(SEGMENTATION, settings=tiny, seeds=[seed]), objective="validation_miou") for seed in (0, 7)
    ]
    points = [plan.point(study, {"segmentation.learning_rate": 0.005}, 0) for study in searches]
    assert [point.config.seed for point in points] == [0, 7]
    assert points[0].stages["ddpm"] != points[1].stages["ddpm"]
    assert points[0].key != points[1].key
    assert searches[1].name == f"{searches[0].name}-seed7"


def test_each_generation_has_keys_of_its_own(tiny):
    first = study(tiny)
    second = first.of_generation(1)
    assert [t.key for t in first.of_generation(0).trials] == [t.key for t in first.trials]
    assert [t.key for t in second.trials] == [f"{t.key}.1" for t in first.trials]
    assert [t.stages for t in second.trials] == [t.stages for t in first.trials]


def test_a_suite_has_variants_and_a_name_of_its_own(tiny):
    suites = {suite: study(tiny, suite=suite) for suite in SUITES}
    assert len({study(tiny).name, *(s.name for s in suites.values())}) == len(SUITES) + 1
    for suite, planned in suites.items():
        assert planned.name == study(tiny).name.replace("quick-", f"quick-{suite}-")
        assert {t.variant for t in planned.trials} <= {*SUITES[suite], *CONTROLS}
    assert {t.variant for t in suites["schedule"].trials} == {*SUITES["schedule"], *CONTROLS}
    # A trial does not depend on the suite that it stands in.
    keys = {t.variant: t.key for t in study(tiny).trials}
    assert all(t.key == keys[t.variant] for t in suites["schedule"].trials if t.variant in keys)


def test_a_suites_variant_that_the_preset_cannot_take_is_left_out_with_a_line(tiny):
    planned = study(tiny, suite="objective")
    assert "learned_variance" not in {t.variant for t in planned.trials}
    (line,) = planned.left_out
    assert line.startswith("variant learned_variance: sampling.sampler must be ddpm with diffusion.learned_variance")
    ancestral = study(tiny | {"sampling.sampler": "ddpm"}, suite="objective")
    assert {*SUITES["objective"]} <= {t.variant for t in ancestral.trials}
    assert ancestral.left_out == ()


def test_variants_are_chosen_from_the_suite_and_unknown_words_are_refused(tiny):
    assert [t.variant for t in study(tiny, suite="objective", chosen=["v"]).trials][:2] == ["baseline", "v"]
    with pytest.raises(UsageError, match=r"--variants: unknown variant 'adagn'; allowed: baseline, x_0, v, "):
        study(tiny, suite="objective", chosen=["adagn"])
    with pytest.raises(UsageError, match=r"--suite: unknown suite 'objectives' of ablations; allowed: architecture, o"):
        study(tiny, suite="objectives")


def test_the_papers_figures_stand_beside_its_own_five_alone():
    assert not any(t.published for t in study({}, preset="paper", suite="architecture").trials)


def test_a_network_that_is_not_of_the_baselines_size_is_named():
    planned = study({}, seeds=[0, 1])
    assert planned.unlike == {
        "convnext": "39 % fewer parameters, 38 % fewer operations a forward than the baseline",
        "no_attention": "11 % fewer parameters, 12 % fewer operations a forward than the baseline",
    }
    sizes = {t.variant: t.size for t in planned.trials}
    assert set(sizes["real_images"].values()) == set(sizes["raw_pixels"].values()) == {None}
