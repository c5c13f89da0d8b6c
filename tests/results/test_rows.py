"""What every rendering of the table says: its variants, its metrics and what qualifies them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from results.formatting import p_value
from results.markdown import markdown_table
from results.rows import flat_columns, study_table
from results.summary import present_metrics, summarise
from results.trials import load_trials
from tests.results.drawn import console_text, line_of
from tests.results.mlflow_store import Store
from tests.results.studies import digits_study, paper_study, summary_of, trial

PAPER_FOOTNOTE = "another reference; a difference from it is no test"


def test_p_the_level_of_a_claim_and_the_floor_of_none_are_shown_from_three_pairs_on() -> None:
    three = console_text(digits_study(seeds=3))
    assert "confirmed, p 0.013" in three
    assert "floor 5.7, p 0.926" in three
    two = console_text(digits_study(seeds=2))
    assert "two seeds" in two
    assert not any(word in two for word in ("p 0.", "confirmed", "floor 5", "helps"))


@pytest.mark.parametrize(
    ("p", "told"), [(0.0004, "p < 0.001"), (0.0501, "p 0.0501"), (0.04996, "p 0.04996"), (0.2, "p 0.200")]
)
def test_p_never_reads_as_the_other_side_of_five_percent(p: float, told: str) -> None:
    assert f"p {p_value(p)}" == told


def test_a_study_in_which_nothing_finished_still_lists_its_variants() -> None:
    trials = pd.DataFrame([trial("baseline", 0, 0, status="FAILED", error="OSError: disk full")])
    assert "seed 0 FAILED: OSError: disk full" in console_text(trials)
    assert "| baseline |" in markdown_table(summary_of(trials), trials)


def test_what_did_not_finish_stands_by_seeds_that_share_an_end_and_an_error_as_they_come() -> None:
    ends = [("FAILED", "OSError: z"), ("KILLED", ""), ("FAILED", "MemoryError: a"), ("FAILED", "OSError: z")]
    trials = pd.DataFrame(
        [trial("baseline", i, 0, status=status, error=error) for i, (status, error) in enumerate(ends)]
    )
    (row,) = study_table(summary_of(trials), trials).rows
    assert row.unfinished == ("seeds 0, 3 FAILED: OSError: z", "seed 1 KILLED", "seed 2 FAILED: MemoryError: a")


def test_a_metric_that_fewer_seeds_have_says_how_many() -> None:
    trials = digits_study()
    trials.loc[(trials["variant"] == "convnext") & (trials["seed"] == 1), "miou"] = np.nan
    row = line_of(markdown_table(summary_of(trials), trials), "| convnext")
    assert "100.0 ± 3.0 |" in row
    assert "(n=2)" in row


def test_seeds_without_a_partner_are_said() -> None:
    trials = digits_study()
    trials = trials[(trials["variant"] != "baseline") | (trials["seed"] < 2)]
    assert ", 2 pairs |" in line_of(markdown_table(summary_of(trials), trials), "| convnext")


def test_a_row_ends_with_its_parameters_and_its_wall_time() -> None:
    trials = pd.DataFrame([trial("baseline", 0, 0, fid_digits=1.0, parameters=552_810_000, wall_time_s=111.6)])
    assert "| 553 M | 1 m 52 s |" in markdown_table(summary_of(trials), trials)


def test_the_papers_figure_stands_beside_the_metric_as_it_is_printed() -> None:
    table, *rest = markdown_table(summary_of(paper_study()), paper_study()).split("\n\n")
    header, _, *rows = ([text.strip() for text in line.split("|")] for line in table.splitlines())
    column = header.index("paper's fid")
    assert header[column - 1] == "fid ↓"
    assert {row[1]: row[column] for row in rows} == {
        **{"baseline": "47.081", "convnext": "–", "cosine": "46.5", "*held-out*": "–"},
    }
    assert PAPER_FOOTNOTE in rest[-1]


def test_without_a_published_figure_there_is_no_column_and_no_line() -> None:
    text = markdown_table(summary_of(digits_study()), digits_study()) + console_text(digits_study(), 80)
    assert "paper" not in text


def test_a_failed_variant_keeps_the_papers_figure() -> None:
    trials = paper_study()
    trials.loc[trials["variant"] == "cosine", "status"] = "FAILED"
    assert "| FAILED | 46.5 |" in line_of(markdown_table(summary_of(trials), trials), "| cosine")


def test_miou_by_the_references_rule_stands_beside_miou_where_it_was_asked_for() -> None:
    trials = digits_study()
    trials["miou_reference"], trials["pixel_accuracy"] = trials["miou"] - 0.1, 0.9
    header = markdown_table(summary_of(trials), trials).splitlines()[0]
    assert header.index("miou ↑") < header.index("miou_reference ↑")
    assert "pixel_accuracy" not in header
    assert "miou_reference" not in markdown_table(summary_of(digits_study()), digits_study())


def test_gpu_time_and_its_cost_stand_in_the_table_where_a_gpu_was_used(store: Store) -> None:
    study = store.study("on GPUs")
    store.trial(study, "baseline", 0, {"fid_digits": 1.0, "gpu_s": 5400.0, "wall_time_s": 10800.0})
    store.trial(study, "raw_pixels", 0, {"miou": 0.1, "wall_time_s": 60.0}, kind="control", position="1")
    found = load_trials(store.uri, "on GPUs")
    without = study_table(summarise(found, present_metrics(found)), found)
    assert [row.gpu_time for row in without.rows] == ["1 h 30 m", ""]
    store.client.set_experiment_tag(study, "gpu_hour_price", "2.5")
    found = load_trials(store.uri, "on GPUs")
    assert found.attrs["gpu_hour_price"] == 2.5
    priced = study_table(summarise(found, present_metrics(found)), found)
    assert priced.rows[0].gpu_time == "1 h 30 m, cost 3.75"
    assert ("GPU time", [row.gpu_time for row in priced.rows]) in flat_columns(priced)


def test_gpu_time_has_no_column_where_no_gpu_was_used(trials: pd.DataFrame) -> None:
    table = study_table(summarise(trials, present_metrics(trials)), trials)
    assert "GPU time" not in dict(flat_columns(table))
