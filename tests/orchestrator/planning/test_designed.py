"""A design's cells: what runs, under which keys, and what is refused before anything starts."""

import pytest
import yaml

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.planning.study_file import asked, checked
from orchestrator.run import main
from search_spaces.designs import Design
from search_spaces.spaces import ABLATIONS, SEGMENTATION


def study(tiny, **more):
    return plan.build(Request(ABLATIONS, settings=tiny, **more))


def variants(planned) -> list[str]:
    return list(dict.fromkeys(t.variant for t in planned.trials if t.kind == "variant"))


def keys(planned) -> dict[str, str]:
    return {t.name: t.key for t in planned.trials}


def test_a_factorial_has_every_combination_of_its_components(tiny):
    planned = study(tiny, design="factorial", components=["adagn", "convnext", "cosine"], seeds=[0, 1])
    assert variants(planned) == [
        *("baseline", "adagn", "convnext", "cosine"),
        *("adagn+convnext", "adagn+cosine", "convnext+cosine", "adagn+convnext+cosine"),
    ]
    trials = {t.variant: t for t in planned.trials}
    assert trials["adagn+cosine"].delta == "unet.norm=adagn, diffusion.beta_schedule=cosine"
    assert len([t for t in planned.trials if t.kind == "variant"]) == 16
    assert planned.design == Design("factorial", ("adagn", "convnext", "cosine"))


def test_the_same_cell_is_the_same_trial_whatever_the_design(tiny):
    two = ["adagn", "cosine"]
    plans = [
        study(tiny),
        study(tiny, design="factorial", components=two),
        study(tiny, design="leave-one-out", components=[*two, "convnext"]),
        study(tiny, design="fraction", components=[*two, "convnext"]),
        study(tiny, pairs=["cosine+adagn"]),
        study(tiny, new=[("mine", {"diffusion.beta_schedule": "cosine", "unet.norm": "adagn"})]),
    ]
    usual = keys(plans[0])
    for planned in plans[1:]:
        own = keys(planned)
        assert {name: own[name] for name in own if name in usual} == {n: usual[n] for n in own if n in usual}
    both = {keys(planned)["adagn+cosine-seed0"] for planned in plans[1:5]}
    assert both == {keys(plans[5])["mine-seed0"]}


def test_without_components_those_that_would_run_are_crossed(tiny):
    planned = study(tiny, design="factorial", chosen=["cosine"], new=[("wide", {"unet.base_channels": 16})])
    assert variants(planned) == ["baseline", "cosine", "wide", "cosine+wide"]
    void = study(tiny | {"unet.attention_resolutions": ()}, design="fraction")
    assert void.design.components == ("adagn", "convnext", "cosine")
    assert void.left_out == ("variant no_attention: changes nothing, the baseline is already so",)


def test_variants_beside_the_components_run_where_they_are_asked_for(tiny):
    two = ["adagn", "cosine"]
    assert variants(study(tiny, design="factorial", components=two)) == ["baseline", *two, "adagn+cosine"]
    beside = study(tiny, design="factorial", components=two, chosen=["convnext", "adagn"])
    assert variants(beside) == ["baseline", *two, "adagn+cosine", "convnext"]


def test_the_order_of_words_makes_no_other_name(tiny):
    one, other = (study(tiny, design="leave-one-out", components=c) for c in (["cosine", "adagn"], ["adagn", "cosine"]))
    assert one.trials == other.trials
    assert one.as_file == other.as_file


def test_a_leave_one_out_has_all_together_and_all_but_each(tiny):
    planned = study(tiny, design="leave-one-out", components=["adagn", "convnext", "cosine"])
    assert variants(planned) == [
        *("baseline", "adagn+convnext", "adagn+cosine", "convnext+cosine", "adagn+convnext+cosine"),
    ]


def test_a_pair_runs_with_each_of_its_two(tiny):
    planned = study(tiny, chosen=["no_attention"], pairs=["cosine+adagn"])
    assert variants(planned) == ["baseline", "no_attention", "adagn", "cosine", "adagn+cosine"]
    assert planned.name == study(tiny).name
    assert planned.design == Design("one-at-a-time", ("no_attention",), ("adagn+cosine",))


def test_a_design_is_a_study_of_its_own(tiny):
    names = {study(tiny, design=d).name for d in ("one-at-a-time", "factorial", "fraction", "leave-one-out")}
    assert len(names) == 4
    assert study(tiny, design="factorial").name == study(tiny).name.replace("quick-", "quick-factorial-")
    assert study(tiny).design is None


def test_a_segmentation_study_may_be_crossed_too(tiny):
    planned = plan.build(
        Request(SEGMENTATION, settings=tiny, design="factorial", components=["by_image", "one_member"])
    )
    assert variants(planned) == ["baseline", "by_image", "one_member", "by_image+one_member"]


CLASH = [("wide", {"unet.base_channels": 16}), ("wider", {"unet.base_channels": 24})]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"design": "factorial", "components": ["adagn", "adagm"]}, "--components: unknown variant 'adagm'; allowed:"),
        ({"design": "factorial", "components": ["baseline"]}, "--components: unknown variant 'baseline'"),
        ({"design": "factorial", "components": ["adagn"]}, "--components: the design factorial needs at least 2,"),
        ({"design": "fraction", "components": ["adagn", "cosine"]}, "--components: the design fraction needs at l"),
        (
            {"design": "factorial", "components": ["wide", "wider"], "new": CLASH},
            "--components: wide and wider cannot be on together: unet.base_channels=16, unet.base_channels=24",
        ),
        ({"pairs": ["wide+wider"], "new": CLASH}, "--pairs: wide and wider cannot be on together"),
        ({"pairs": ["adagn"]}, "--pairs: must be two variants and a +, such as adagn+cosine, but got 'adagn'"),
        ({"pairs": ["adagn+adagn"]}, "--pairs: must be two variants and a +"),
        ({"pairs": ["adagn+cosine+convnext"]}, "--pairs: must be two variants and a +"),
        ({"pairs": ["adagn+cosin"]}, "--pairs: unknown variant 'cosin'; allowed: adagn"),
        (
            {"design": "factorial", "components": ["adagn", "cosine"], "pairs": ["adagn+convnext"]},
            "--pairs: unknown variant 'convnext'; allowed: adagn, cosine",
        ),
        (
            {"design": "factorial", "new": [(f"v{i}", {"training.weight_decay": 0.1 + i}) for i in range(20)]},
            "--components: must make at most 64 cells, but factorial of 24 makes 16777216",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_crossed_is_told_in_one_line(tiny, more, said):
    with pytest.raises(UsageError) as error:
        study(tiny, **more)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_components_that_agree_may_set_the_same(tiny):
    v = {"diffusion.prediction": "v"}
    new = [("v_flips", v | {"training.flips": True}), ("v_l1", v | {"training.loss": "l1"})]
    planned = study(tiny, design="factorial", chosen=["baseline"], new=new)
    delta = {t.variant: t.delta for t in planned.trials}["v_flips+v_l1"]
    assert delta == "diffusion.prediction=v, training.flips=True, training.loss=l1"


def test_a_cell_that_repeats_another_is_refused(tiny):
    new = [("v", {"diffusion.prediction": "v"}), ("v_l1", {"diffusion.prediction": "v", "training.loss": "l1"})]
    with pytest.raises(UsageError, match=r"^variant v\+v_l1: is the same as variant v_l1"):
        study(tiny, design="factorial", chosen=["baseline"], new=new)


def of_file(content, **words):
    return plan.build(asked(ABLATIONS, None, words, (), file=checked(content, "mine.yaml", ABLATIONS)))


def test_a_file_says_its_design(tiny):
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in tiny.items()}
    content = {"settings": settings, "design": "factorial", "components": ["adagn", "cosine"]}
    planned = of_file(content)
    assert planned.trials == study(tiny, design="factorial", components=["adagn", "cosine"]).trials
    assert of_file(content, design="one-at-a-time", pairs=["adagn+cosine"]).design.pairs == ("adagn+cosine",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"design": "half"}, "design: input should be 'one-at-a-time', 'leave-one-out', 'factorial' or 'fraction'"),
        (
            {"design": "factorial", "components": []},
            "components: the design factorial needs at least 2, but got 0",
        ),
        (
            {"variants": {"adagn+cosin": {"unet.norm": "adagn"}}},
            "variants: 'adagn+cosin': unknown variant 'cosin' in a cell's name",
        ),
        (
            {"pairs": ["adagn+cosine"], "variants": {"adagn+cosine": {"unet.norm": "adagn"}}},
            "variants: 'adagn+cosine': must change what its components change, unet.norm=adagn, "
            "diffusion.beta_schedule=cosine, but got unet.norm=adagn",
        ),
    ],
)
def test_what_a_file_cannot_cross_is_told_with_the_file_and_the_key(content, said, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as error:
        plan.build(asked(ABLATIONS, path, {}, ()))
    assert str(error.value).startswith(f"{path}: {said}")
    assert "\n" not in str(error.value)


def test_a_cell_that_no_design_runs_is_left_out_with_a_line():
    content = {"variants": {"adagn+cosine": {"unet.norm": "adagn", "diffusion.beta_schedule": "cosine"}}}
    planned = of_file(content)
    assert "adagn+cosine" not in variants(planned)
    assert planned.left_out == ("variant adagn+cosine: no cell of the design one-at-a-time, and none of pairs",)


def test_cells_are_matched_each_to_the_baselines_size():
    planned = plan.build(Request(ABLATIONS, design="factorial", components=["adagn", "convnext"], match="parameters"))
    size = {t.variant: t.parameters for t in planned.trials}
    assert abs(size["adagn+convnext"] / size["baseline"] - 1) < 0.10
    assert "unet.channels" in {t.variant: t.delta for t in planned.trials}["adagn+convnext"]


def test_a_dry_run_tells_the_design_and_what_is_in_the_store(tiny_words, tmp_path, capsys):
    words = ["ablations", "--storage", str(tmp_path), "--dry-run", "--design", "fraction", *tiny_words()]
    assert main([*words, "--components", "adagn", "convnext", "cosine"]) == 0
    out = capsys.readouterr().out
    assert "design fraction: 4 cells of adagn, convnext, cosine, the baseline among them\n" in out
    assert "aliased: adagn = −convnext × cosine\n" in out
    assert "in the store: all stages of 0 of 7 trials\n" in out


@pytest.mark.parametrize("design", ["factorial", "fraction", "leave-one-out"])
def test_the_resolved_file_of_a_design_holds_it_and_every_cell(design):
    request = Request(ABLATIONS, design=design, components=["adagn", "convnext", "cosine"])
    planned = plan.build(request)
    file = planned.file
    assert (file.design, file.components) == (design, ["adagn", "convnext", "cosine"])
    assert {"adagn", "convnext", "cosine", *variants(planned)} - {"baseline"} == set(file.variants)
    assert planned.design == Design(design, ("adagn", "convnext", "cosine"))
