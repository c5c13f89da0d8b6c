"""The gate: it passes where the whole interval lies within the margin, and says why where it does not."""

from __future__ import annotations

import pandas as pd
import pytest

from results.gate import Margin, gate, margin_of
from results.trials import load_trials
from tests.results.mlflow_store import STUDY, Store
from tests.results.studies import digits_study, summary_of, trial


def judged(trials: pd.DataFrame, metric: str, variant: str, within: str) -> tuple[bool, str]:
    outcome = gate(summary_of(trials), trials, metric, variant, margin_of(within))
    assert "\n" not in outcome.line
    assert outcome.line.startswith("pass: " if outcome.passes else "fail: ")
    return outcome.passes, outcome.line


def interval(trials: pd.DataFrame, metric: str, variant: str) -> tuple[float, float]:
    row = summary_of(trials).set_index(["variant", "metric"]).loc[(variant, metric)]
    return float(row["ci_low"]), float(row["ci_high"])


@pytest.mark.parametrize(("text", "margin"), [
    ("2%", Margin(0.02, relative=True)), (" 2.5 % ", Margin(0.025, relative=True)), ("0%", Margin(0.0, relative=True)),
    ("0.01", Margin(0.01)), ("3", Margin(3.0)), ("0", Margin(0.0)),
])  # fmt: skip
def test_a_margin_is_a_share_of_the_baseline_or_a_number(text: str, margin: Margin) -> None:
    assert margin_of(text) == margin


@pytest.mark.parametrize("text", ["", "%", "much", "-2%", "-0.1", "nan", "inf", "inf%", "2%%", "2 percent"])
def test_what_is_no_margin_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match="must be a share of the baseline's mean, as 2%, or a number from 0 on, but got"
    ):
        margin_of(text)


def test_where_lower_is_better_the_upper_end_decides() -> None:
    trials = digits_study()
    _, high = interval(trials, "fid_digits", "cosine")
    assert high > 0
    assert judged(trials, "fid_digits", "cosine", f"{high + 1e-9:.12f}")[0]
    passes, line = judged(trials, "fid_digits", "cosine", f"{high - 1e-9:.12f}")
    assert not passes
    assert "the interval is too wide, and more seeds would narrow it" in line


def test_where_higher_is_better_the_lower_end_decides() -> None:
    trials = digits_study()
    low, high = interval(trials, "miou", "cosine")
    assert low < 0 < high
    assert judged(trials, "miou", "cosine", f"{-low + 1e-9:.12f}")[0]
    assert not judged(trials, "miou", "cosine", f"{-low - 1e-9:.12f}")[0]


def test_a_share_is_of_the_baselines_mean() -> None:
    trials = digits_study()
    _, high = interval(trials, "fid_digits", "cosine")
    share = 100 * high / 110
    assert judged(trials, "fid_digits", "cosine", f"{share + 1e-6}%")[0]
    assert not judged(trials, "fid_digits", "cosine", f"{share - 1e-6}%")[0]
    assert "2.200 worse is allowed (2 % of the baseline's 110.000)" in judged(trials, "fid_digits", "cosine", "2%")[1]


def test_what_is_better_for_sure_passes_without_any_margin() -> None:
    passes, line = judged(digits_study(), "fid_digits", "convnext", "0")
    low, high = interval(digits_study(), "fid_digits", "convnext")
    assert passes
    assert f"3 pairs: −10.000 [−{-low:.3f}, −{-high:.3f}]" in line
    assert line.endswith("it is better")


def test_what_is_worse_for_sure_fails_and_says_by_how_much() -> None:
    trials = digits_study()
    worse = trials["variant"] == "cosine"
    trials.loc[worse, "fid_digits"] *= 3
    low, _ = interval(trials, "fid_digits", "cosine")
    passes, line = judged(trials, "fid_digits", "cosine", "2%")
    assert not passes
    assert line.endswith(f"it is at least {low:.3f} worse")


@pytest.mark.parametrize(("seeds", "said"), [(1, "one seed: no uncertainty"), (2, "two seeds: no claim")])
def test_too_few_seeds_fail_however_good_they_look(seeds: int, said: str) -> None:
    passes, line = judged(digits_study(seeds=seeds), "fid_digits", "convnext", "1000%")
    assert (passes, said in line) == (False, True)
    assert "there is one from 3 pairs on" in line


def test_failed_seeds_are_no_pass(store: Store) -> None:
    trials = load_trials(store.uri, STUDY)
    assert judged(trials, "fid_digits", "convnext", "1000%")[0] is False
    assert "no interval, no paired seeds" in judged(trials, "fid_digits", "adagn", "2%")[1]


def test_a_study_without_any_figure_is_no_pass() -> None:
    trials = pd.DataFrame([trial(name, 0, 0, status="FAILED") for name in ("baseline", "mine")])
    assert judged(trials, "fid", "mine", "2%") == (
        False,
        "fail: fid of mine against the baseline: no trial has a figure",
    )


@pytest.mark.parametrize(("metric", "variant", "said"), [
    ("fid", "cosine", "metric: must be one of fid_digits, miou, but got 'fid'"),
    ("miou", "mine", "variant: must be one of convnext, cosine, but got 'mine'"),
    ("miou", "baseline", "variant: must be one of convnext, cosine, but got 'baseline'"),
    ("miou", "held-out", "variant: must be one of convnext, cosine, but got 'held-out'"),
])  # fmt: skip
def test_what_the_study_does_not_have_is_named(metric: str, variant: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        judged(digits_study(), metric, variant, "2%")


def test_a_study_of_the_baseline_alone_has_no_variant() -> None:
    trials = digits_study()
    alone = trials[trials["variant"] == "baseline"]
    with pytest.raises(ValueError, match="variant: must be in the study, which has none, but got 'mine'"):
        judged(alone, "miou", "mine", "2%")


def test_an_ended_failure_leaves_the_other_pairs_to_decide() -> None:
    trials = digits_study(seeds=5)
    trials.loc[(trials["variant"] == "convnext") & (trials["seed"] == 4), "status"] = "FAILED"
    assert "4 pairs" in judged(trials, "fid_digits", "convnext", "2%")[1]
