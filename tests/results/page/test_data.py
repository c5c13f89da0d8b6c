"""From the page's own data the page's table is made again."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from results.html import html_page
from results.page.data import as_element, from_page
from results.report import write
from results.rows import study_table
from results.trials import load_trials
from tests.results.mlflow_store import STUDY, Store
from tests.results.studies import EVIL, digits_study, paper_study, probed_study, summary_of, trial, with_trials

FAILED = trial(EVIL, 0, 9, delta=EVIL, status="FAILED", error="</script><b>ValueError", fid_digits=math.inf)


@pytest.mark.parametrize("trials", [digits_study(), paper_study(), probed_study(), with_trials(digits_study(), FAILED)])
def test_the_table_is_made_again_from_the_page(trials: pd.DataFrame, tmp_path: Path) -> None:
    trials.attrs.update(gpu_hour_price=2.5, higher_is_better={"mine": True}, asked=["baseline"])
    write(summary_of(trials), trials, tmp_path, study="a <study>")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    name, again = from_page(page)
    assert name == "a <study>"
    assert again.attrs == trials.attrs
    assert study_table(summary_of(again), again) == study_table(summary_of(trials), trials)
    assert html_page(name, summary_of(again), again) == html_page(name, summary_of(trials), trials)
    assert summary_of(again).to_csv(index=False) == (tmp_path / "table.csv").read_text(encoding="utf-8")


def test_every_column_comes_back_to_the_last_bit(store: Store) -> None:
    trials = load_trials(store.uri, STUDY)
    _, again = from_page(as_element(STUDY, trials))
    pd.testing.assert_frame_equal(again, trials, check_exact=True)


def test_no_text_ends_the_element() -> None:
    element = as_element(EVIL, with_trials(digits_study(), FAILED))
    assert element.count("</script>") == element.count("<script") == element.count("<") - 1 == 1


def test_a_page_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match='id="study"'):
        from_page("<html></html>")
