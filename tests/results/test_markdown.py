"""The table in Markdown: whole rows, whatever the texts in them."""

from __future__ import annotations

from results.markdown import markdown_table
from tests.results.studies import EVIL, digits_study, summary_of, trial, with_trials


def test_markdown_rows_all_have_the_headers_columns() -> None:
    trials = with_trials(digits_study(), trial(EVIL, 0, 9, delta="a|b=1", fid_digits=1.0))
    table, *rest = markdown_table(summary_of(trials), trials).split("\n\n")
    counts = {line.replace("\\|", "").count("|") for line in table.splitlines()}
    assert counts == {13}  # 12 columns: 3, for each of 2 metrics 3, one for the control that has a FID, 2
    assert "<script>" not in table
    assert "`a\\|b=1`" in table
    assert "*held-out*" in table
    assert rest[-1].startswith("↓ lower is better")


def test_markdown_makes_no_link_of_a_name() -> None:
    trials = with_trials(digits_study(), trial("[click](javascript:alert)", 0, 9, fid_digits=1.0))
    assert "[click\\](javascript" in markdown_table(summary_of(trials), trials)


def test_markdown_says_under_the_table_what_did_not_finish() -> None:
    failed = trial("convnext", 7, 1, status="FAILED", error="Traceback\nMemoryError: a|b")
    stopped = trial("adagn", 0, 9, status="KILLED")
    noted = trial("cosine", 7, 2, fid_digits=1.0, status_note="resumed")
    trials = with_trials(digits_study(), failed, stopped, noted)
    _, unfinished, *_ = markdown_table(summary_of(trials), trials).split("\n\n")
    assert unfinished.splitlines() == [
        "- convnext: seed 7 FAILED: MemoryError: a\\|b",
        "- cosine: seed 7: resumed",
        "- adagn: seed 0 KILLED",
    ]
