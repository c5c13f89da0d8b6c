"""`--match`: a variant's network is of the baseline's size within 3 %, or the plan says how near it comes."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.match import LIMIT, MATCHES, WITHIN
from orchestrator.planning.settings import Request
from orchestrator.planning.study_file import asked
from results.size import share
from search_spaces.ablations import SUITES, VARIANTS
from search_spaces.spaces import ABLATIONS, SEGMENTATION
from trainables import network_cost
from trainables.canonical import LATER
from trainables.config import flatten
from trainables.data import About

ABOUT = {"own": About(3, (), 1000, 0, 200, "fingerprint"), "paper": About(1, ("a", "b"), 9000, 300, 500, "fingerprint")}
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, out_channels, width=4):
        super().__init__()
        self.first, self.last = nn.Conv2d(in_channels, width, 3, padding=1), nn.Conv2d(width, out_channels, 1)

    def forward(self, x_t, t):
        return self.last(self.first(x_t))
"""


def study(preset="quick", match="parameters", **more):
    return plan.build(Request(ABLATIONS, preset=preset, match=match, **more), ABOUT.get(preset))


def variants(planned):
    return {t.variant: t for t in planned.trials if t.kind == "variant"}


def shares(planned, match):
    trials, what = variants(planned), MATCHES[match]
    return {name: share(t.size[what], trials["baseline"].size[what]) for name, t in trials.items()}


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize(("preset", "suite"), [("quick", "architecture"), ("own", None), ("paper", None)])
def test_every_variant_is_within_3_percent_or_told(preset, suite, match):
    planned = study(preset, match, suite=suite)
    assert planned.left_out == ()
    assert set(variants(planned)) == set(SUITES[suite] if suite else VARIANTS)
    for name, by in shares(planned, match).items():
        told = [remark for remark in variants(planned)[name].remarks if remark.startswith("not matched within 3 %: ")]
        assert abs(by) <= LIMIT
        assert len(told) == (abs(by) > WITHIN)
        assert all(f"{100 * abs(by):.2f} % {'more' if by > 0 else 'fewer'} " in line for line in told)
    if preset != "quick":  # whose levels are few and narrow
        assert max(map(abs, shares(planned, match).values())) <= WITHIN


def test_the_widths_are_in_the_config_the_keys_and_what_changed():
    plain, matched = (variants(study(match=match)) for match in (None, "parameters"))
    convnext = matched["convnext"]
    widths = list(convnext.config.unet.channels)
    assert convnext.delta == f"unet.block=convnext, unet.channels={widths}"
    assert all(width % convnext.config.unet.norm_groups == 0 for width in widths)
    assert convnext.config.unet.base_channels == plain["convnext"].config.unet.base_channels
    assert convnext.stages["ddpm"] != plain["convnext"].stages["ddpm"]
    # What is of the baseline's size already is the same trial.
    assert matched["cosine"] == plain["cosine"]
    assert matched["baseline"] == plain["baseline"]


def test_a_matched_study_is_a_study_of_its_own():
    names = [study(match=match, suite=suite).name for match in (None, *MATCHES) for suite in (None, "architecture")]
    assert len(set(names)) == len(names)
    assert study(match="flops", suite="architecture").name == study(match=None).name.replace(
        "quick-", "quick-architecture-match-flops-"
    )


def test_the_reports_figures_stand_beside_no_matched_variant():
    published = {name: bool(trial.published) for name, trial in variants(study("paper")).items()}
    assert published["baseline"]
    assert not published["convnext"]


def test_a_finer_norm_makes_a_finer_match():
    planned = study(settings={"unet.norm_groups": 4})
    assert max(map(abs, shares(planned, "parameters").values())) <= WITHIN
    assert not any(remark.startswith("not matched") for t in planned.trials for remark in t.remarks)


def test_a_match_in_one_size_still_marks_the_other():
    assert "operations a forward" in study().unlike["no_attention"]
    assert "parameters" not in "".join(study().unlike.values())


def test_a_variant_whose_change_is_a_width_keeps_it_and_is_told():
    wide = ("wide", {"unet.base_channels": 24})
    trial = variants(study(new=[wide]))["wide"]
    assert trial.delta == "unet.base_channels=24"
    assert (
        "not matched within 3 %: 123.78 % more parameters than the baseline, with unet.channels [24, 48, 48]"
        in trial.remarks
    )


def test_a_network_of_ones_own_is_not_matched_and_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_net.py").write_text(NET)
    mine = ("mine", {"network": "my_net.py:Net", "segmentation.blocks": ["first"]})
    trial = variants(study(new=[mine]))["mine"]
    assert trial.delta == "network=my_net.py:Net, segmentation.blocks=[first]"
    (told,) = (remark for remark in trial.remarks if remark.startswith("not matched"))
    assert told.endswith("than the baseline, with my_net.py:Net, whose widths --match does not know")


def test_what_comes_no_nearer_than_10_percent_is_refused_or_left_out(tiny):
    said = (
        "variant no_attention: --match parameters: must come within 10 % of the baseline, but the nearest "
        "unet.channels, [8, 16], have 11.8 % fewer parameters"
    )
    assert study(settings=tiny).left_out == (said,)
    with pytest.raises(UsageError) as error:
        study(settings=tiny, chosen=["no_attention"])
    assert str(error.value) == said


def test_controls_are_the_baselines(tiny):
    plain, matched = study(match=None), study()
    of = [{t.variant: t for t in planned.trials if t.kind == "control"} for planned in (plain, matched)]
    assert of[0].keys() == of[1].keys()
    assert all(of[0][name].key == trial.key for name, trial in of[1].items())


def test_a_second_plan_counts_nothing_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path))
    network_cost._known.cache_clear()
    first = study()
    network_cost._known.cache_clear()
    monkeypatch.setattr(network_cost, "_counted", lambda *_: pytest.fail("counted again"))
    assert study() == first
    network_cost._known.cache_clear()


def test_a_file_says_match_and_words_win_over_it(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("match: flops\n")
    assert plan.build(asked(ABLATIONS, path, {}, [])) == study(match="flops")
    assert plan.build(asked(ABLATIONS, path, {"match": "parameters"}, [])) == study()
    path.write_text("match: width\n")
    with pytest.raises(UsageError, match=r"study\.yaml: match: input should be 'parameters' or 'flops', but got 'wi"):
        asked(ABLATIONS, path, {}, [])


def test_segmentation_has_none(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("command: segmentation\nmatch: flops\n")
    with pytest.raises(UsageError, match=r"study\.yaml: match: only ablations has one"):
        plan.build(asked(SEGMENTATION, path, {}, []))


def test_the_later_setting_is_in_no_earlier_key():
    assert LATER["unet.channels"] == flatten(variants(study(match=None))["baseline"].config)["unet.channels"] == ()
