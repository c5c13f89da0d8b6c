"""The table in LaTeX: whole rows, whatever the texts in them."""

from __future__ import annotations

from pathlib import Path

from results.latex import latex_table
from results.report import write
from tests.results.studies import digits_study, summary_of, trial, with_trials


def test_latex_rows_are_whole_and_special_letters_are_escaped(written: Path) -> None:
    text = (written / "table.tex").read_text(encoding="utf-8")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {11}
    row = next(line for line in body if "script" in line)
    assert row.startswith(
        r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}\textbar{}[red]\&\_\%"
    )
    assert r"$-$10.0 [$-$16.1, $-$3.5] & helps" in text
    assert r"100.0 $\pm$ 3.0" in text


def test_a_latex_row_cannot_begin_as_an_argument_of_the_row_above(tmp_path: Path) -> None:
    trials = with_trials(digits_study(), trial("[2cm]", 0, 9, fid_digits=1.0))
    write(summary_of(trials), trials, tmp_path)
    assert "\n{[2cm]} & " in (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_latex_says_in_comments_what_did_not_finish_and_how_to_read_the_table() -> None:
    failed = trial("convnext", 7, 1, status="FAILED", error="MemoryError: 5 %")
    trials = with_trials(digits_study(), failed)
    lines = latex_table(summary_of(trials), trials).splitlines()
    comments = [line for line in lines if line.startswith("%")]
    assert lines[: len(comments)] == comments
    assert "% convnext: seed 7 FAILED: MemoryError: 5 %" in comments
    assert "% ↓ lower is better, ↑ higher is better" in comments


def test_latex_separates_the_controls_by_a_line() -> None:
    trials = digits_study()
    lines = latex_table(summary_of(trials), trials).splitlines()
    rows = [line.split(" ")[0] for line in lines if line.endswith((r"\\", "rule"))]
    assert rows == [
        r"\toprule",
        "variant",
        r"\midrule",
        "baseline",
        "convnext",
        "cosine",
        r"\midrule",
        "held-out",
        r"\bottomrule",
    ]
