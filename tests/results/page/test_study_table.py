"""By which number a text is sorted."""

from __future__ import annotations

import re

import pytest

from results.page.study_table import html_study_table, sort_number
from results.rows import study_table
from tests.results.studies import digits_study, summary_of, trial, with_trials


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("34.3 ± 3.0", 34.3),
        ("−5.4 [−7.0, −3.8]", -5.4),
        ("+0.010", 0.01),
        ("198 k †", 198_000),
        ("35.7 M", 35_700_000),
        ("512", 512),
        ("0.4 s", 0.4),
        ("1 m 52 s", 112),
        ("2 h 05 m", 7500),
        ("52 s, cost 0.10", 52),
        ("1e-05", 1e-5),
        ("–", None),
        ("", None),
        ("helps", None),
        ("<script>", None),
    ],
)
def test_a_figures_text_is_sorted_by_its_number(text: str, number: float | None) -> None:
    assert sort_number(text) == (None if number is None else pytest.approx(number))


def test_numbers_are_cells_with_a_number_and_texts_are_not() -> None:
    row = trial("1e3-steps", 0, 4, delta="training.train_steps=10", fid_digits=90.0)
    trials = with_trials(digits_study(), row)
    html = html_study_table(study_table(summary_of(trials), trials))
    assert '<td data-sort="110">110.0 ± 2.0</td>' in html
    assert '<td class="wraps" data-sort="-10">−10.0 <span>[−16.1, −3.5]</span></td>' in html
    assert "<td>1e3-steps</td>" in html  # a name
    assert '<td class="wraps helps"><span>helps</span>, <span>confirmed</span>, <span>p 0.013</span></td>' in html
    assert '<td class="changed">training.<wbr>train_<wbr>steps=<wbr>10</td>' in html


def test_the_controls_are_a_body_of_their_own() -> None:
    trials = digits_study()
    html = html_study_table(study_table(summary_of(trials), trials))
    variants, controls = html.split("<tbody>")[1:]
    assert [len(re.findall("<tr>", body)) for body in (variants, controls)] == [3, 1]
    assert "held-out" in controls
