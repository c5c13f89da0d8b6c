"""The page in a real browser: nothing is said against it or asked for elsewhere, and its figures are the store's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.report import write
from results.trials import load_trials
from tests.results.browser import Browser, chromium
from tests.results.mlflow_store import Store
from tests.results.studies import EVIL, save_shown, shown_trial, summary_of

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium on this machine to open the page in")

HEADS = "[...document.querySelectorAll('section:nth-of-type(2) th')].map(e => e.textContent)"
ROWS = (
    "[...document.querySelectorAll('section:nth-of-type(2) tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
)
STUDY = "in-a-browser"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A study in MLflow's own store, with failed and single trials, read as the driver reads it."""
    store = Store(tmp_path_factory.mktemp("mlflow") / "runs.db")
    study, draw = store.study(STUDY), np.random.default_rng(0)
    for position, (name, seeds) in enumerate(
        {"baseline": 3, "adagn": 3, "alone-with-a-long-name": 1, "z-wide": 3}.items()
    ):
        for seed in range(seeds):
            metrics = {"fid_digits": draw.normal(100, 9), "miou": draw.normal(0.6, 0.05)}
            metrics |= {"parameters": 191_281.0 + position, "wall_time_s": draw.uniform(30, 200)}
            store.trial(study, name, seed, metrics, position=str(position), delta=f"unet.option={position}")
    store.trial(study, "z-wide", 3, {}, "FAILED", position="3", delta="unet.option=3", error=f"ValueError: {EVIL}")
    control = {"kind": "control", "position": "4", "delta": "real images"}
    store.trial(study, "real_images", 0, {"fid_digits": 7.0}, **control)
    return load_trials(store.uri, STUDY)


@pytest.fixture(scope="module")
def page(trials: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for i, (variant, seed) in enumerate(zip(trials["variant"], trials["seed"], strict=True)):
        save_shown(folder, variant, seed, shown_trial(seed=i))
    write(summary_of(trials), trials, folder, study=STUDY)
    return folder / "report.html"


def _opened(browser: Browser, page: Path, width: int = 1400, **more: bool | str) -> None:
    browser.show(width, **more)  # type: ignore[arg-type]
    browser.open(page)


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_said_against_it_and_nothing_is_asked_for_elsewhere(
    browser: Browser, page: Path, dark: bool
) -> None:
    _opened(browser, page, dark=dark)
    assert browser.complaints == []
    assert {address.partition(":")[0] for address in browser.requests} <= {"file", "data"}
    assert [a for a in browser.requests if a.startswith("file")] == [page.resolve().as_uri()]


def test_the_browser_refuses_what_a_page_would_ask_for_elsewhere(browser: Browser, page: Path) -> None:
    _opened(browser, page)
    browser.ask(
        "new Promise(done => { const i = new Image(); i.onerror = i.onload = done; i.src = 'http://[::1]:9/'; })"
    )
    browser.ask("document.body.append(Object.assign(document.createElement('script'), {text: 'window.evil = 1'}))")
    assert browser.ask("window.evil") is None
    assert len([c for c in browser.complaints if "Content Security Policy" in c]) == 2  # so the watch sees complaints


def test_every_picture_loads_and_has_a_text(browser: Browser, page: Path) -> None:
    _opened(browser, page)
    images = browser.ask("[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt])")
    assert len(images) > 20
    assert all(loaded and alt for loaded, alt in images)
    drawn = browser.ask(
        "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), "
        "...s.getAttribute('aria-labelledby').split(' ').map(i => document.getElementById(i).textContent)])"
    )
    assert drawn and all(role == "img" and title and description for role, title, description in drawn)
    assert browser.ask("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == browser.ask(
        "document.querySelectorAll('[id]').length"
    )


def test_the_figures_are_those_of_the_store(browser: Browser, page: Path, trials: pd.DataFrame) -> None:
    """Recomputed from the trials with the standard library alone, to the last printed digit."""
    _opened(browser, page)
    heads, rows = browser.ask(HEADS), browser.ask(ROWS)
    assert [row[0] for row in rows] == ["baseline", "adagn", "alone-with-a-long-name", "z-wide", "real_images"]
    finished = trials[trials["status"] == "FINISHED"]
    for name, digits, arrow in (("fid_digits", 1, "↓"), ("miou", 3, "↑")):
        column = heads.index(f"{name} {arrow}")
        for row in rows:
            values = [v for v in finished.loc[finished["variant"] == row[0], name].tolist() if math.isfinite(v)]
            if not values:
                assert row[column] == "–"
                continue
            mean = math.fsum(values) / len(values)
            expected = f"{mean:.{digits}f}"
            if len(values) > 1:
                spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
                expected += f" ± {spread:.{digits}f}"
            assert row[column] == expected
    assert browser.ask("document.body.innerText").count("seed 3 FAILED: ValueError: <script>alert(1)</script>") == 1


def test_a_click_on_a_head_sorts_by_number_and_the_controls_stay_below(browser: Browser, page: Path) -> None:
    _opened(browser, page)
    heads, before = browser.ask(HEADS), browser.ask(ROWS)
    column = heads.index("fid_digits ↓")

    def figures() -> list[float]:
        return [float(row[column].split(" ")[0]) for row in browser.ask(ROWS)]

    click = f"document.querySelectorAll('section:nth-of-type(2) th')[{column}].querySelector('button').click()"
    browser.ask(click)
    assert figures()[:-1] == sorted(figures()[:-1]) and figures()[-1] == 7.0
    assert browser.ask(f"document.querySelectorAll('section:nth-of-type(2) th')[{column}].ariaSort") == "ascending"
    assert sorted(browser.ask(ROWS)) == sorted(before)  # whole rows
    browser.ask(click)
    assert figures()[:-1] == sorted(figures()[:-1], reverse=True)
    assert browser.complaints == []


def test_cells_without_a_figure_come_last_either_way(browser: Browser, page: Path) -> None:
    _opened(browser, page)
    column = browser.ask(HEADS).index("Δ [95 %]")
    for _ in range(2):
        browser.ask(f"document.querySelectorAll('section:nth-of-type(2) th')[{column}].querySelector('button').click()")
        assert browser.ask(ROWS)[3][0] == "baseline"


def test_without_scripts_all_of_it_is_there(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        _opened(browser, page)
        document = browser.call("DOM.getDocument", depth=-1)
        html = browser.call("DOM.getOuterHTML", nodeId=document["root"]["nodeId"])["outerHTML"]
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "<button" not in html
    assert html.count("<img") == page.read_text(encoding="utf-8").count("<img")


@pytest.mark.parametrize("width", [320, 400, 800, 1400])
def test_the_page_does_not_scroll_sideways_and_a_wide_table_does(browser: Browser, page: Path, width: int) -> None:
    _opened(browser, page, width)
    browser.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    if width <= 400:
        assert browser.ask("(s => s.scrollWidth > s.clientWidth)(document.querySelector('.scroll'))")


def test_light_dark_and_paper_have_grounds_of_their_own(browser: Browser, page: Path) -> None:
    def grounds() -> tuple[str, str]:
        style = "getComputedStyle(document.body)"
        return browser.ask(f"{style}.backgroundColor"), browser.ask(f"{style}.color")

    _opened(browser, page)
    assert grounds() == ("rgb(255, 255, 255)", "rgb(28, 36, 48)")
    _opened(browser, page, dark=True)
    assert grounds() == ("rgb(20, 24, 30)", "rgb(231, 234, 239)")
    _opened(browser, page, dark=True, media="print")
    assert grounds() == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    assert browser.ask("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    _opened(browser, page, 700, media="print")  # A4 within its margins
    assert browser.ask("document.documentElement.scrollWidth") <= 700


def test_words_in_pictures_do_not_cover_each_other_or_a_mark_or_leave_them(browser: Browser, page: Path) -> None:
    _opened(browser, page)
    found = browser.ask(
        """(() => { const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] };
        return [...document.querySelectorAll("svg")].map(s => [
          box(s), [...s.querySelectorAll("text")].map(t => [t.textContent, box(t)]),
          [...s.querySelectorAll("circle, polygon.arrow, line.interval")].map(box)]) })()"""
    )
    assert len(found) == 2 + 5 + 5 + 1  # two metrics, each row's loss and classifier, the cost
    for whole, words, marks in found:
        for i, (text, box) in enumerate(words):
            assert box[0] >= whole[0] - 1 and box[2] <= whole[2] + 1, text
            assert box[1] >= whole[1] - 1 and box[3] <= whole[3] + 1, text
            assert not [other for other, beside in words[i + 1 :] if _cover(box, beside)], text
            assert not [mark for mark in marks if _cover(box, mark)], text
        starts = [box[0] for text, box in words if text.startswith("←")]  # of a forest plot's axis
        assert all(box[2] < start for start in starts for text, box in words if text.startswith("alone"))


def _cover(one: list[float], other: list[float]) -> bool:
    """Whether the boxes overlap by more than the room that a letter has above and below it."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    return across > 1 and min(one[3], other[3]) - max(one[1], other[1]) > 3
