"""The lines below the table, by the table in Markdown, where each is a sentence."""

from __future__ import annotations

import pandas as pd
import pytest

from results.markdown import markdown_table
from tests.results.studies import paper_study, summary_of, trial


def test_the_footnotes_name_the_pairs_that_the_number_of_samples_decides() -> None:
    footnotes = markdown_table(summary_of(paper_study()), paper_study())
    assert "\nfid: extrapolated to infinitely many samples, baseline and cosine change places." in footnotes
    many = paper_study(samples=1e6)  # hardly any bias left
    assert "change places" not in markdown_table(summary_of(many), many)


def test_of_many_pairs_some_are_named_and_the_rest_counted() -> None:
    rows = [
        trial(f"v{i}", 0, i, samples=9e9, fid=10.0 + i, fid_half=20.0 + 3 * i, fid_extrapolated=-i) for i in range(5)
    ]
    footnotes = markdown_table(summary_of(pd.DataFrame(rows)), pd.DataFrame(rows))
    assert "v0 and v1; v0 and v2; v0 and v3; v0 and v4; 6 more pairs change places." in footnotes


@pytest.mark.parametrize(
    ("samples", "smoke"),
    [
        (64, {"fid_digits": "64x64", "fid": "2048x2048"}),
        (65, {"fid": "2048x2048"}),
        (2048, {"fid": "2048x2048"}),
        (2049, {}),
    ],
)
def test_a_frechet_distance_from_too_few_samples_is_called_a_smoke_value(samples: int, smoke: dict[str, str]) -> None:
    trials = paper_study(samples)
    lines = markdown_table(summary_of(trials), trials).splitlines()
    assert [line for line in lines if "smoke" in line] == [
        f"{name} from {samples} samples is a smoke value: its {size} covariance is singular."
        for name, size in smoke.items()
    ]


def test_smoke_values_of_several_sizes_are_given_as_a_range() -> None:
    trials = paper_study()
    trials.loc[trials["variant"] == "held-out", "samples"] = 300
    trials.loc[trials["variant"] == "convnext", "samples"] = 5000  # enough
    assert "fid from 300 to 500 samples is a smoke value" in markdown_table(summary_of(trials), trials)
