"""A network that is not of the baseline's size is marked in every table, and a line says in what."""

from __future__ import annotations

import math
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from results.console import console_table
from results.report import write
from results.size import unlike
from tests.results.studies import digits_study, summary_of

BASELINE = {"parameters": 1000.0, "forward_flops": 2000.0}
TOLD = "† convnext: 39 % fewer parameters, 35 % fewer operations a forward than the baseline"


@pytest.mark.parametrize(
    ("parameters", "forward_flops", "told"),
    [
        (1000, 2000, ""),
        (1100, 1800, ""),  # 10 % is not more than 10 %
        (1101, 2000, "10 % more parameters than the baseline"),
        (610, 1300, "39 % fewer parameters, 35 % fewer operations a forward than the baseline"),
        (2500, 1790, "150 % more parameters, 10 % fewer operations a forward than the baseline"),
        (610, math.nan, "39 % fewer parameters than the baseline"),
        (610, None, "39 % fewer parameters than the baseline"),
        (None, None, ""),
    ],
)
def test_what_differs_by_more_than_a_tenth_is_told(
    parameters: float | None, forward_flops: float | None, told: str
) -> None:
    assert unlike({"parameters": parameters, "forward_flops": forward_flops}, BASELINE) == told


@pytest.mark.parametrize("baseline", [{}, {"parameters": 0.0}, {"parameters": None}, {"parameters": math.nan}])
def test_of_a_baseline_that_is_not_known_nothing_is_told(baseline: dict[str, float | None]) -> None:
    assert unlike({"parameters": 610.0, "forward_flops": 1300.0}, baseline) == ""


@pytest.fixture
def smaller() -> pd.DataFrame:
    trials = digits_study()
    trials["forward_flops"] = 2000.0
    of_convnext = trials["variant"] == "convnext"
    trials.loc[of_convnext, ["parameters", "forward_flops"]] = 198_123.0 * 0.61, 1300.0
    trials.loc[trials["kind"] == "control", ["parameters", "forward_flops"]] = math.nan  # it has no network
    return trials


def test_every_table_marks_the_row_and_says_why(smaller: pd.DataFrame, tmp_path: Path) -> None:
    write(summary_of(smaller), smaller, tmp_path)
    texts = {name: (tmp_path / name).read_text() for name in ("table.md", "table.tex", "report.html")}
    for width in (200, 80):
        out = StringIO()
        Console(file=out, width=width).print(console_table(summary_of(smaller), smaller, width))
        texts[f"console of {width}"] = " ".join(out.getvalue().split())
    for name, text in texts.items():
        mark = r"121 k $\dagger$" if name == "table.tex" else "121 k †"
        assert text.count(mark) == 1, name
        assert text.count("† convnext: ") == 1, name
        assert TOLD in text, name
        assert text.count("†") == (1 if name == "table.tex" else 2), name


def test_the_csv_has_both_sizes_and_the_words(smaller: pd.DataFrame, tmp_path: Path) -> None:
    write(summary_of(smaller), smaller, tmp_path)
    table = pd.read_csv(tmp_path / "table.csv", keep_default_na=False).drop_duplicates("variant").set_index("variant")
    assert table.loc["convnext", "size"] == TOLD.partition(": ")[2]
    assert table.loc["convnext", "forward_flops"] == "1300.0"
    assert set(table.drop("convnext")["size"]) == {""}


def test_of_operations_that_an_earlier_study_did_not_record_nothing_is_said(smaller: pd.DataFrame) -> None:
    earlier = smaller.drop(columns="forward_flops")
    sizes = summary_of(earlier).drop_duplicates("variant").set_index("variant")["size"]
    assert sizes["convnext"] == "39 % fewer parameters than the baseline"
    unknown = smaller.copy()
    unknown.loc[unknown["variant"] == "baseline", "forward_flops"] = math.nan
    assert summary_of(unknown)["size"].unique().tolist() == ["", "39 % fewer parameters than the baseline"]
