"""Effects as people read them: the same words on the console, in Markdown and on the page."""

import html
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from results import effects_plot
from results.effects import effects_table
from results.effects_shown import console_effects, effects_section, markdown_effects, notes
from results.report import write
from tests.results.crossed import crossed, named
from tests.results.drawn import pixels_of
from tests.results.studies import EVIL, digits_study, summary_of, trial, with_trials

TWO = ("adagn", "cosine")


def both_metrics(trials: pd.DataFrame) -> pd.DataFrame:
    return named(trials.assign(miou=0.5 - trials["fid"] / 1000), trials.attrs["design"]["name"], TWO)


def text_of(effects: pd.DataFrame, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(console_effects(effects))
    return captured.get()


def rows_of_page(page: str) -> list[list[str]]:
    rows = re.findall(r"<tr>((?:<td.*?</td>)+)</tr>", page)
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def test_every_rendering_says_the_same() -> None:
    trials = both_metrics(crossed(3, {"adagn": -10.0, "adagn × cosine": 6.0}, TWO))
    effects = effects_table(trials)
    page = rows_of_page(effects_section(effects))
    table = markdown_effects(effects).split("\n\n")[1].splitlines()[2:]
    assert [html.unescape(row).strip("| ").split(" | ") for row in table] == page
    console = [re.split(r" {2,}", line.strip()) for line in text_of(effects, 120).splitlines()]
    assert [cells for cells in console if len(cells) == 5][1:] == page
    assert [row[:2] for row in page] == [[m, e] for m in ("fid ↓", "miou ↑") for e in (*TWO, "adagn × cosine")]
    by_name = effects.set_index(["metric", "effect"]).loc[("fid", "adagn")]
    low, high = by_name["ci_low"], by_name["ci_high"]
    interval = f"−{-by_name['estimate']:.2f} [−{-low:.2f}, −{-high:.2f}]"
    assert page[0] == ["fid ↓", "adagn", interval, "< 0.001", "helps"]
    assert page[2][-1] == "worse together"


def test_the_table_fits_80_columns() -> None:
    effects = effects_table(crossed(2, {"adagn": -1.0}, design="fraction"))
    assert max(map(len, text_of(effects).splitlines())) <= 80


def test_what_there_is_not_is_a_dash_and_never_a_nan() -> None:
    alone = effects_table(crossed(1, {}, TWO))
    trials = crossed(2, {}, TWO)
    lost = named(trials.assign(fid=trials["fid"].where(trials["variant"] != "adagn")), "factorial", TWO)
    for effects in (alone, effects_table(lost)):
        for text in (text_of(effects), markdown_effects(effects)):
            assert "nan" not in text and "–" in text
    assert "[" not in markdown_effects(alone).split("\n\n")[1].splitlines()[2]
    assert "no figure of adagn" in markdown_effects(effects_table(lost))
    assert rows_of_page(effects_section(effects_table(lost)))[0][2:] == ["–", "–", "not estimable"]


def test_the_notes_say_how_the_effects_are_to_be_read() -> None:
    def said(design: str, seeds: int, *components: str) -> str:
        return "\n".join(notes(effects_table(crossed(seeds, {}, components, design))))

    assert "of three and more" not in said("factorial", 2, *TWO)
    three = (*TWO, "wide")
    assert "they are in the residual\n" in said("factorial", 2, *three)
    assert "they are in the residual, and with one seed all of it\n" in said("factorial", 1, *three, "deep")
    assert "the cells tell this sum alone" in said("fraction", 2, *three)
    assert "the cells do not tell them from these effects" in said("fraction", 2, *three)
    assert "all of them together less all but this one" in said("leave-one-out", 2, *three)
    assert "hold together" not in said("factorial", 1, *TWO)
    assert said("factorial", 2, *TWO).endswith("fid: 8 trials, 2 seeds, 3 degrees of freedom of the residual")
    lost = crossed(2, {}, TWO).drop(index=0)
    lost = named(with_trials(lost, trial("baseline", 0, 0, status="FAILED")), "factorial", TWO)
    assert list(notes(effects_table(lost)))[-1].startswith("fid: 7 of 8 trials, 2 seeds, 2 degrees")


def test_a_study_without_a_design_has_no_section() -> None:
    assert effects_section(effects_table(digits_study())) == ""
    assert markdown_effects(effects_table(digits_study())) == ""


def test_a_name_from_anywhere_is_text() -> None:
    trials = crossed(2, {}, TWO)
    for old, new in (("adagn", EVIL), ("adagn+cosine", f"{EVIL}+cosine")):
        trials["variant"] = trials["variant"].replace(old, new)
    named(trials, "factorial", (EVIL, "cosine"))
    assert "<script>" not in effects_section(effects_table(trials))
    table = markdown_effects(effects_table(trials))
    assert "<script>" not in table
    assert {line.replace("\\|", "").count("|") for line in table.split("\n\n")[1].splitlines()} == {6}


def test_the_report_has_the_effects_and_drops_them_with_the_design(tmp_path) -> None:
    trials = crossed(2, {"adagn": -10.0}, TWO)
    write(summary_of(trials), trials, tmp_path)
    kept = pd.read_csv(tmp_path / "effects.csv").set_index("effect")
    assert kept["estimate"].to_numpy() == pytest.approx(effects_table(trials)["estimate"].to_numpy())
    assert "**Effects of the components**" in (tmp_path / "table.md").read_text()
    plain = digits_study()
    write(summary_of(plain), plain, tmp_path)
    assert not (tmp_path / "effects.csv").exists()
    assert "Effects" not in (tmp_path / "table.md").read_text()


def test_the_picture_has_a_mark_for_each_effect_at_its_estimate() -> None:
    effects = effects_table(both_metrics(crossed(3, {"adagn": -10.0, "cosine": 8.0}, TWO)))
    figure = effects_plot.effects(effects)
    assert [axes.get_title() for axes in figure.axes] == ["fid ↓", "miou ↑"]
    fid = effects[effects["metric"] == "fid"]
    marks = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "D")]
    assert [float(np.ravel(mark.get_xdata())[0]) for mark in marks] == pytest.approx(fid["estimate"].to_list())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == fid["effect"].to_list()
    assert [mark.get_marker() for mark in marks] == ["o", "o", "D"]
    assert [mark.get_markerfacecolor() != "white" for mark in marks] == [True, True, False]
    assert np.unique(pixels_of(figure).reshape(-1, 3), axis=0).shape[0] > 10


def test_the_picture_is_drawn_without_intervals_too() -> None:
    figure = effects_plot.effects(effects_table(crossed(1, {"adagn": -10.0}, TWO)))
    marks = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "D")]
    assert len(marks) == 3 and all(mark.get_markerfacecolor() == "white" for mark in marks)
