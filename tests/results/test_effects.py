"""Effects of crossed components: what is planted is found, and what cannot be known is not claimed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from results.effects import EFFECT_COLUMNS, effects_table
from results.maximum_modulus import quantile
from search_spaces import designs
from tests.results.crossed import COMPONENTS, crossed, named
from tests.results.studies import digits_study, trial, with_trials

THREE = COMPONENTS[:3]
PLANTED = {"adagn": -10.0, "convnext": 3.0, "adagn × cosine": 6.0}
STUDIES = 300


def of_fid(trials: pd.DataFrame) -> pd.DataFrame:
    table = effects_table(trials)
    assert list(table.columns) == list(EFFECT_COLUMNS)
    return table[table["metric"] == "fid"].set_index("effect")


def truth(table: pd.DataFrame, planted: Mapping[str, float]) -> pd.Series:
    """What was planted into each effect, and into those that no cell tells from it."""
    whole = []
    for name, aliases in table["aliases"].items():
        words = aliases.replace(" × ", "×").split()
        signed = {other.replace("×", " × "): sign for sign, other in zip(words[::2], words[1::2], strict=True)}
        others = [planted.get(other, 0.0) * (1 if sign == "+" else -1) for other, sign in signed.items()]
        whole.append(planted.get(name, 0.0) + sum(others))
    return pd.Series(whole, table.index)


def share_that_holds(seeds: int, planted: Mapping[str, float], **more) -> float:
    """The share of simulated studies in which every interval holds what was planted."""
    rng, held = np.random.default_rng(1), []
    for _ in range(STUDIES):
        table = of_fid(crossed(seeds, planted, rng=rng, **more))
        known = truth(table, planted)
        held.append(((table["ci_low"] <= known) & (known <= table["ci_high"])).all())
    return float(np.mean(held))


LIMITS = 0.912, 0.988  # three standard errors of a share of 0.95 of 300


@pytest.mark.parametrize(
    ("seeds", "more"),
    [
        (2, {"components": ("adagn", "cosine")}),
        (1, {}),
        (3, {"components": THREE}),
        (2, {"design": "fraction"}),
        (3, {"design": "fraction", "components": THREE}),
    ],
    ids=["2^2", "one seed of 2^4", "2^3", "half of 2^4", "half of 2^3"],
)
def test_all_intervals_of_a_study_hold_the_truth_in_95_percent_of_the_studies(seeds, more):
    planted = {
        name: e for name, e in PLANTED.items() if name != "convnext" or "convnext" in more.get("components", name)
    }
    low, high = LIMITS
    assert low <= share_that_holds(seeds, planted, **more) <= high


def test_intervals_that_share_a_cell_are_wide_enough():
    assert share_that_holds(3, {}, components=THREE, design="leave-one-out") >= LIMITS[0]


def test_planted_effects_are_found_with_their_names():
    rng, verdicts = np.random.default_rng(3), []
    for _ in range(50):
        planted = {"adagn": -2.0, "convnext": 2.0, "adagn × cosine": 2.0, "convnext × cosine": -2.0}
        verdicts.append(of_fid(crossed(3, planted, rng=rng))["verdict"])
    found = pd.DataFrame(verdicts)
    assert (found["adagn"] == "helps").mean() > 0.9
    assert (found["convnext"] == "hurts").mean() > 0.9
    assert (found["adagn × cosine"] == "worse together").mean() > 0.9
    assert (found["convnext × cosine"] == "better together").mean() > 0.9
    assert (found["no_attention"] == "inconclusive").mean() > 0.9


@pytest.mark.parametrize("design", ["factorial", "fraction", "leave-one-out"])
def test_without_noise_estimates_are_what_was_planted(design):
    table = of_fid(crossed(2, PLANTED, design=design, sd=1e-9))
    if design == "leave-one-out":  # adagn with all others on: its own step, and twice its half with cosine
        assert table["estimate"].to_dict() == pytest.approx(
            {"adagn": -10 + 6, "convnext": 3, "cosine": 6, "no_attention": 0}, abs=1e-6
        )
    else:
        assert table["estimate"].to_numpy() == pytest.approx(truth(table, PLANTED).to_numpy(), abs=1e-6)


def test_estimates_are_plain_differences_of_means_and_the_error_is_the_residuals():
    trials = crossed(3, PLANTED, ("adagn", "cosine"))
    table, fid = of_fid(trials), trials.pivot(index="seed", columns="variant", values="fid")
    both, adagn, cosine, none = (fid[name] for name in ("adagn+cosine", "adagn", "cosine", "baseline"))
    main, together = (both + adagn - cosine - none) / 2, (both - adagn - cosine + none) / 2
    assert table.loc["adagn", "estimate"] == pytest.approx(main.mean())
    assert table.loc["adagn × cosine", "estimate"] == pytest.approx(together.mean())
    centred = fid.sub(fid.mean(axis=1), axis=0) - (fid.mean() - fid.to_numpy().mean())
    sd = np.sqrt((centred**2).to_numpy().sum() / 6)  # (4 - 1) (3 - 1) degrees of freedom
    half = (table["ci_high"] - table["ci_low"]) / 2
    assert half.to_numpy() == pytest.approx(quantile(0.95, 3, 6) * sd / np.sqrt(3))
    assert (table["df"] == 6).all()


def test_interval_p_and_verdict_are_of_one_procedure():
    for seed in range(20):
        table = of_fid(crossed(2, {"adagn": -1.5, "cosine": 1.2}, rng=np.random.default_rng(seed)))
        outside = (table["ci_low"] > 0) | (table["ci_high"] < 0)
        assert ((table["p"] < 0.05) == outside).all()
        assert ((table["verdict"] != "inconclusive") == outside).all()


def test_seeds_that_differ_much_cost_nothing():
    trials = crossed(3, PLANTED)
    moved = named(trials.assign(fid=trials["fid"] + 1000 * trials["seed"]), "factorial")
    for column in ("estimate", "ci_low", "ci_high"):
        assert of_fid(moved)[column].to_numpy() == pytest.approx(of_fid(trials)[column].to_numpy())


def test_a_fraction_says_what_it_cannot_tell_apart():
    table = of_fid(crossed(2, {"cosine × no_attention": 8.0}, design="fraction"))
    assert table["aliases"].to_dict() == {
        **dict.fromkeys(COMPONENTS, ""),
        "adagn × convnext": "+ cosine × no_attention",
        "adagn × cosine": "+ convnext × no_attention",
        "adagn × no_attention": "+ convnext × cosine",
    }
    assert table.loc["adagn × convnext", "verdict"] == "not zero"
    three = of_fid(crossed(2, {}, THREE, "fraction"))
    assert three["aliases"].to_dict() == {
        "adagn": "− convnext × cosine", "convnext": "− adagn × cosine", "cosine": "− adagn × convnext",
    }  # fmt: skip


def without(trials: pd.DataFrame, *lost: tuple[str, int | None]) -> pd.DataFrame:
    """The trials, of which some failed; None: at every seed."""
    failed = pd.Series(False, trials.index)
    for variant, seed in lost:
        failed |= (trials["variant"] == variant) & (True if seed is None else trials["seed"] == seed)
    trials = trials.assign(status=trials["status"].where(~failed, "FAILED"), fid=trials["fid"].where(~failed))
    return named(trials, "factorial", COMPONENTS)


def test_a_lost_trial_costs_its_degree_of_freedom_and_the_rest_is_estimated():
    whole = crossed(2, PLANTED)
    table = of_fid(without(whole, ("adagn+cosine", 1)))
    assert (table["n"] == 31).all() and (table["trials"] == 32).all()
    assert (table["df"] == of_fid(whole)["df"] - 1).all()
    assert (table["missing"] == "").all()
    assert table["estimate"].to_numpy() == pytest.approx(truth(table, PLANTED).to_numpy(), abs=2)


def test_a_figure_that_is_no_number_is_as_a_lost_trial():
    trials = crossed(2, PLANTED)
    bad = trials.assign(fid=trials["fid"].where(trials.index != 3, np.inf))
    lost = trials.assign(fid=trials["fid"].where(trials.index != 3))
    tables = [of_fid(named(each, "factorial")) for each in (bad, lost)]
    assert (tables[0]["n"] == 31).all()
    pd.testing.assert_frame_equal(*tables)


def test_a_cell_without_any_figure_is_named_and_what_hangs_on_it_is_not_estimable():
    trials = crossed(3, PLANTED, ("adagn", "cosine"))
    lost = trials["variant"] == "adagn+cosine"
    table = of_fid(named(trials.assign(fid=trials["fid"].where(~lost)), "factorial", ("adagn", "cosine")))
    assert (table["missing"] == "adagn+cosine").all()
    assert (table["verdict"] == "not estimable").all()
    assert table[["estimate", "ci_low", "ci_high", "p"]].isna().all(axis=None)
    # Of 2^4 without one cell all effects of the model are left.
    table = of_fid(without(crossed(3, PLANTED, sd=1e-9), ("adagn+cosine", None)))
    assert table["estimate"].to_numpy() == pytest.approx(truth(table, PLANTED).to_numpy(), abs=1e-6)


def test_a_cell_that_has_not_begun_is_missing_too():
    trials = crossed(3, PLANTED, ("adagn", "cosine"))
    table = of_fid(trials[trials["variant"] != "adagn+cosine"])
    assert (table["missing"] == "adagn+cosine").all()
    assert (table["verdict"] == "not estimable").all()
    without = crossed(2, {}, THREE, "leave-one-out")
    table = of_fid(without[without["variant"] != "adagn+convnext+cosine"])
    assert (table["missing"] == "adagn+convnext+cosine").all()
    assert table["verdict"].to_dict() == dict.fromkeys(THREE, "not estimable")
    half = crossed(2, {}, design="fraction")
    assert (of_fid(half[half["variant"] != "adagn+cosine"])["missing"] == "adagn+cosine").all()


def test_effects_that_are_left_are_corrected_for_their_own_number():
    trials = crossed(3, {}, THREE, "leave-one-out")
    lost = trials["variant"] == "adagn+convnext"
    table = of_fid(named(trials.assign(fid=trials["fid"].where(~lost)), "leave-one-out", THREE))
    assert table["verdict"].to_dict()["cosine"] == "not estimable"
    assert table.loc[["adagn", "convnext"], "p"].notna().all()


def test_without_a_residual_there_is_an_estimate_and_no_claim():
    table = of_fid(crossed(1, PLANTED, ("adagn", "cosine")))
    assert table["estimate"].notna().all()
    assert table[["ci_low", "ci_high", "p"]].isna().all(axis=None)
    assert (table["verdict"] == "no residual: no uncertainty").all()


def test_figures_that_are_all_alike_are_no_effect():
    trials = crossed(2, {})
    table = of_fid(named(trials.assign(fid=0.1), "factorial"))
    assert (table[["estimate", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert (table["verdict"] == "inconclusive").all()


def test_two_that_ran_alone_and_together_have_their_interaction():
    alone = crossed(3, {}, THREE, "one-at-a-time", sd=1e-9)
    pairs = [
        trial("adagn+cosine", seed, 9, fid=alone.loc[alone["seed"] == seed, "fid"].iloc[0] + 5) for seed in range(3)
    ]
    trials = named(with_trials(alone, *pairs), "one-at-a-time", THREE)
    table = of_fid(trials)
    assert table["estimate"].to_dict() == pytest.approx({"adagn × cosine": 2.5}, abs=1e-6)
    assert (table["df"] == 8).all()  # all five cells tell of the noise
    trials.attrs["design"] = {}
    assert of_fid(trials)["estimate"].to_dict() == pytest.approx({"adagn × cosine": 2.5}, abs=1e-6)


def test_a_pair_without_its_two_has_no_interaction():
    alone = crossed(2, {}, THREE, "one-at-a-time")
    beside = with_trials(alone[alone["variant"] != "adagn"], *(trial("adagn+cosine", s, 9, fid=1.0) for s in (0, 1)))
    assert effects_table(named(beside, "one-at-a-time", THREE)).empty


def test_a_study_without_cells_of_several_has_no_effects():
    assert effects_table(digits_study()).empty
    assert effects_table(crossed(3, PLANTED, design="one-at-a-time")).empty


def test_variants_beside_the_design_and_controls_are_no_cells():
    trials = crossed(2, PLANTED)
    beside = [trial("wide", 0, 30, fid=1e6), trial("untrained", 0, 31, fid=1e6, kind="control")]
    more = named(with_trials(trials, *beside), "factorial")
    pd.testing.assert_frame_equal(effects_table(more), effects_table(trials))


def test_each_metric_has_its_own_fit_and_direction():
    trials = crossed(3, {"adagn": -10.0}, ("adagn", "cosine"))
    trials["miou"] = 0.5 - trials["fid"] / 1000
    table = effects_table(trials).set_index(["metric", "effect"])
    assert table.loc[("fid", "adagn"), "verdict"] == table.loc[("miou", "adagn"), "verdict"] == "helps"
    assert table.loc[("fid", "adagn"), "p"] == pytest.approx(table.loc[("miou", "adagn"), "p"])


def test_the_words_are_those_of_the_designs():
    from results import effects

    assert {effects.FACTORIAL, effects.FRACTION, effects.LEAVE_ONE_OUT} == set(designs.DESIGNS) - {"one-at-a-time"}
    assert (effects.JOINT, effects.TIMES) == (designs.JOINT, designs.TIMES)
