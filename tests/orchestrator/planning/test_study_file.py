"""A study as a file: what is read from it, what is refused and how, and what words do to it."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.study_file import FIELDS, asked, read, schema, space_of
from search_spaces.spaces import ABLATIONS, SEGMENTATION
from trainables.config import PARTS_WITH_ARGS, Config, flatten
from trainables.sections import Pretrained

WHOLE = """
command: ablations
name: mine
preset: quick
seeds: [0, 3]
settings: {training.train_steps: 5, unet.base_channels: 8}
variants:
  wide: {unet.base_channels: 16}
  slow: {training.learning_rate: 1.0e-4}
chosen: [adagn]
"""


@pytest.fixture
def file(tmp_path):
    """Makes a study file of the text."""

    def made(text: str) -> Path:
        path = tmp_path / "my_study.yaml"
        path.write_text(text)
        return path

    return made


def of_words(path=None, space=ABLATIONS, new=(), **words):
    return asked(space, path, words, new)


def test_a_file_says_what_the_words_of_a_command_say(file):
    wide, slow = ("wide", {"unet.base_channels": 16}), ("slow", {"training.learning_rate": 1e-4})
    settings = {"training.train_steps": 5, "unet.base_channels": 8}
    said = of_words(name="mine", seeds=[0, 3], settings=settings, chosen=["adagn"], new=[wide, slow])
    assert plan.build(of_words(file(WHOLE))) == plan.build(said)


def test_what_a_file_leaves_out_is_as_on_the_command_line(file):
    assert plan.build(of_words(file("command: ablations"))) == plan.build(of_words())


def test_words_win_over_the_file_and_settings_are_laid_over_one_by_one(file):
    settings, wide = {"training.train_steps": 6}, ("wide", {"unet.dropout": 0.1})
    request = of_words(file(WHOLE), seeds=[7], name="other", settings=settings, new=[wide])
    assert (request.seeds, request.name) == ([7], "other")
    assert request.settings == {"training.train_steps": 6, "unet.base_channels": 8}
    changed = {t.variant: t.delta for t in plan.build(request).trials if t.kind == "variant"}
    same = {"baseline": "-", "adagn": "unet.norm=adagn", "slow": "training.learning_rate=0.0001"}
    assert changed == same | {"wide": "unet.dropout=0.1"}


def variants(request):
    return list(dict.fromkeys(t.variant for t in plan.build(request).trials if t.kind == "variant"))


def test_variants_that_words_choose_leave_out_those_of_the_file(file):
    assert variants(of_words(file(WHOLE))) == ["baseline", "adagn", "wide", "slow"]
    assert variants(of_words(file(WHOLE), chosen=["cosine"])) == ["baseline", "cosine"]
    assert variants(of_words(file(WHOLE), chosen=["slow"])) == ["baseline", "slow"]
    spelt_out = [("wide", {"unet.base_channels": 24}), ("new", {"unet.dropout": 0.1})]
    assert variants(of_words(file(WHOLE), chosen=["cosine"], new=spelt_out)) == ["baseline", "cosine", "wide", "new"]


def test_without_a_choice_the_presets_variants_run_beside_the_files(file):
    found = variants(of_words(file("variants: {wide: {unet.base_channels: 32}}")))
    assert found == ["baseline", "adagn", "convnext", "cosine", "no_attention", "wide"]


def test_a_variant_may_stand_in_the_place_of_a_known_one_and_loses_its_published_figure(file):
    path = file("{preset: paper, variants: {cosine: {diffusion.beta_schedule: cosine, diffusion.beta_min: 0.0}}}")
    trials = {t.variant: t for t in plan.build(of_words(path)).trials}
    assert trials["cosine"].config.diffusion.beta_min == 0
    assert trials["adagn"].published == {"fid": 49.303}
    assert trials["cosine"].published == {}


def test_a_known_variant_that_is_spelt_out_as_it_is_keeps_its_published_figure(file):
    path = file("{preset: paper, variants: {no_attention: {unet.attention_resolutions: []}}}")
    trials = {t.variant: t for t in plan.build(of_words(path)).trials}
    assert trials["no_attention"].published == {"fid": 52.476}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seedz: [0]", "unknown key 'seedz'; did you mean seeds?"),
        ("1: 3", "unknown key 1; allowed: command, name,"),
        ("- a", "must hold a study, one key a line; allowed: command, name,"),
        ("", "must hold a study"),
        ("seeds: [0", "not valid YAML"),
        ("settings: {unet.dropout: 0, unet.dropout: 1}", "not valid YAML: unet.dropout is given twice"),
        ("settings: {unet.base_chanels: 8}", "settings: unknown setting 'unet.base_chanels'; did you mean unet.base"),
        ("settings: {unet.base_channels: 3}", "settings: unet.base_channels: input should be a multiple of 8, but got"),
        ("settings: {unet.dropout: true}", "settings: unet.dropout must not be true or false, but got True"),
        ("settings: {unet.norm_groups: 7}", "settings: unet.norm_groups must divide each of [16, 16, 32, 32], but"),
        ("settings: {unet: {block: convnext}}", "settings: unet is a section; write its settings with dots, such as "),
        ("settings: {unet: 3}", "settings: unet is a section; write its settings with dots, such as unet.base_"),
        ("settings: {seed: 3}", "settings: the seed is given by seeds"),
        ("settings: {1: 3}", "settings: a name such as no or 1 needs quotes, but got 1"),
        ("settings: 3", "settings: input should be a valid dictionary, but got 3"),
        ("variants: {no: {unet.dropout: 0.1}}", "variants: a name such as no or 1 needs quotes, but got False"),
        ("variants: {w: {unet.drop: 1}}", "variants.w: unknown setting 'unet.drop'; did you mean unet.dropout?"),
        ("variants: {a/b: {unet.dropout: 0.1}}", "variants: variant 'a/b': the name must be at most 80 letters"),
        ("variants: {baseline: {unet.dropout: 0.1}}", "variants: variant 'baseline': the name is taken"),
        ("variants: {untrained: {unet.dropout: 0.1}}", "variants: variant 'untrained': the name is taken"),
        ("variants: {w: {unet.norm_groups: 7}}", "variant w: unet.norm_groups must divide each of"),
        ("variants: {w: {unet.norm: group}}", "variant w: changes nothing, the baseline is already so"),
        ("chosen: [adagm]", "chosen: unknown variant 'adagm'; allowed: baseline, adagn"),
        ("chosen: []", "chosen: list should have at least 1 item"),
        ("preset: bedroom", "preset: unknown preset 'bedroom' of ablations; allowed: quick, "),
        ("name: a/b", "name: must be at most 80 letters"),
        ("seeds: 3", "seeds: input should be a valid list, but got 3"),
        ("seeds: [true]", "seeds: input should be a valid integer, but got True"),
        ("seeds: [-1]", "seeds: input should be greater than or equal to 0, but got -1"),
        ("seeds: []", "seeds: list should have at least 1 item"),
        ("command: segmentation", "command: the file is for segmentation, but ablations was asked for"),
        ("command: ablation", "command: input should be 'ablations' or 'segmentation', but got 'ablation'"),
        ("heat_map: [50]", "heat_map: only segmentation has one"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_with_the_file_and_the_key(file, text, said):
    with pytest.raises(UsageError) as error:
        plan.build(of_words(file(text)))
    assert str(error.value).startswith(f"{file(text)}: {said}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.yaml: No such file"):
        read(tmp_path / "gone.yaml", ABLATIONS)


def test_a_word_that_is_wrong_is_not_blamed_on_the_file(file):
    with pytest.raises(UsageError, match=r"^--variants: unknown variant 'adagm'"):
        plan.build(of_words(file(WHOLE), chosen=["adagm"]))
    with pytest.raises(UsageError, match=r"^--preset: unknown preset 'bedroom'"):
        plan.build(of_words(file(WHOLE), preset="bedroom"))
    with pytest.raises(UsageError, match=r"^unet\.norm_groups must divide"):
        plan.build(of_words(file(WHOLE), settings={"unet.norm_groups": 7}))


def test_a_heat_map_of_the_file_is_one_of_its_timesteps(file):
    text = "{command: segmentation, heat_map: [50, 1000]}"
    with pytest.raises(UsageError, match=r"my_study\.yaml: heat_map: must be timesteps from 0 to 999, but got 1000"):
        plan.build(of_words(file(text), SEGMENTATION))
    cells = {
        t.variant for t in plan.build(of_words(file(text), SEGMENTATION, heat_map=[10])).trials if t.kind == "probe"
    }
    assert cells == {"block5-t10", "block6-t10", "block7-t10"}


def test_the_file_says_what_it_is_a_study_of(file):
    assert space_of(file("command: segmentation")) is SEGMENTATION
    assert space_of(file("seeds: [0]")) is ABLATIONS


def test_every_setting_but_the_seed_is_a_setting_of_the_file():
    known = {*flatten(Config()), *flatten(Pretrained(), "pretrained.")} - {"seed", "pretrained"}
    assert set(FIELDS) == known | {f"{part}_args" for part in PARTS_WITH_ARGS}


def test_the_schema_knows_every_setting_with_its_range_and_default_and_refuses_others():
    Draft202012Validator.check_schema(schema())
    settings = schema()["$defs"]["Settings"]
    assert set(settings["properties"]) == set(FIELDS)
    width = settings["properties"]["unet.base_channels"]
    assert (width["default"], width["minimum"], width["multipleOf"]) == (64, 8, 8)
    editor = Draft202012Validator(schema())
    assert editor.is_valid({"settings": {"unet.block": "my.py:Block", "unet.block_args.slope": 0.2}})
    assert not editor.is_valid({"settings": {"unet.blok_args.slope": 0.2}})
    good = {"settings": {"unet.base_channels": 8}, "variants": {"w": {"fid.metrics": ["kid"]}}, "heat_map": []}
    assert editor.is_valid(good)
    for bad in (
        {"settings": {"unet.base_channels": 4}},
        {"settings": {"unet.base_chanels": 8}},
        {"variants": {"w": {"fid.metrics": ["fud"]}}},
        {"variants": {"w": 3}},
        {"preset": "slow"},
        {"seedz": [0]},
    ):
        assert not editor.is_valid(bad), bad
