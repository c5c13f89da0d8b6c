"""Variants that are better by one metric and worse by another."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from results.disagreement import disagreement
from results.markdown import markdown_table
from results.metrics import METRICS
from tests.results.studies import digits_study, summary_of

FID, MIOU = (next(metric for metric in METRICS if metric.name == name) for name in ("fid_digits", "miou"))
RECALL = next(metric for metric in METRICS if metric.name == "recall_digits")


def _summary(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["variant", "metric", "difference", "verdict"])


@pytest.mark.parametrize(
    ("fid", "miou", "disagree"),
    [(-1.0, 0.1, False), (1.0, -0.1, False), (-1.0, -0.1, True), (1.0, 0.1, True), (0.0, 0.1, False)],
)
def test_signs_are_those_of_better_and_worse(fid: float, miou: float, disagree: bool) -> None:
    summary = _summary(("wide", "fid_digits", fid, "inconclusive"), ("wide", "miou", miou, "inconclusive"))
    better, worse = ("fid_digits", "miou") if fid < 0 else ("miou", "fid_digits")
    line = f"metrics disagree about the sign of a difference: wide (better by {better}; worse by {worse})"
    assert list(disagreement(summary, [FID, MIOU])) == [line] * disagree


def test_what_a_verdict_claims_is_told_with_it_and_what_has_no_difference_has_no_sign() -> None:
    summary = _summary(
        ("baseline", "fid_digits", math.nan, ""),
        ("baseline", "miou", math.nan, ""),
        ("wide", "fid_digits", -3.0, "helps"),
        ("wide", "miou", math.nan, "no paired seeds"),
        ("wide", "recall_digits", -0.1, "inconclusive"),
    )
    (line,) = disagreement(summary, [FID, MIOU, RECALL])
    assert line.endswith(": wide (better by fid_digits, helps; worse by recall_digits)")
    assert list(disagreement(summary, [FID, MIOU])) == []


def test_of_many_variants_some_are_named_and_the_rest_counted() -> None:
    rows = [(f"v{i}", name, -1.0, "") for i in range(6) for name in ("fid_digits", "miou")]
    (line,) = disagreement(_summary(*rows), [FID, MIOU])
    assert line.endswith("v3 (better by fid_digits; worse by miou), 2 more")


def test_of_many_metrics_those_with_a_claim_are_named_first_and_the_rest_counted() -> None:
    names = ("fid_digits", "kid", "fid", "miou", "recall_digits")
    known = [next(metric for metric in METRICS if metric.name == name) for name in names]
    verdicts = {"fid": "helps", "miou": "hurts"}
    rows = [("wide", name, -1.0, verdicts.get(name, "inconclusive")) for name in names]
    (line,) = disagreement(_summary(*rows), known)
    assert line.endswith("(better by fid, helps and fid_digits and 1 more; worse by miou, hurts and recall_digits)")


def test_the_line_stands_below_the_table() -> None:
    trials = digits_study()
    trials.loc[trials["variant"] == "convnext", "miou"] -= 0.2
    table = markdown_table(summary_of(trials), trials)
    assert "\nMetrics disagree about the sign of a difference: convnext (better by fid_digits" in table
