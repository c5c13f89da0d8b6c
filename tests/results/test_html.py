"""The page as a browser reads it."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.html import html_pictures, html_table
from results.report import write
from tests.results.studies import (
    EVIL,
    digits_study,
    large_study,
    paper_study,
    picture,
    probed_study,
    save_shown,
    shown_trial,
    summary_of,
)


class _Page(HTMLParser):
    """What a browser would make of the page: its texts, its images, its scripts; refuses unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.images: list[str] = []
        self.alts: list[str] = []
        self.scripts: list[str | None] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = dict(attrs)
        if tag == "img":
            self.images.append(known["src"] or "")
            self.alts.append(known["alt"] or "")
        if tag == "script":
            self.scripts.append(known.get("type"))
        if tag not in ("img", "meta", "link", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A mark of a picture: <line/>."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_shows_texts_as_texts(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert page.scripts == ["application/json", None]  # the study's data and what sorts tables
    assert EVIL in page.texts
    assert f"{EVIL}: seed 0 FAILED: ValueError: a < b & c" in page.texts
    assert f"{EVIL}, seed 0: resumed" in page.texts


def test_html_has_title_counts_and_provenance(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert page.texts.count("digits & co") == 2  # title and heading
    assert "Baseline and 3 variants, 1 control, 3 seeds, 12 of 13 trials finished." in page.texts
    assert "Code: 0123456789ab with changes that are not committed. Machines: node-1." in page.texts


def test_the_page_needs_nothing_but_itself_and_the_browser_is_told_so(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.images and all(address.startswith("data:image/webp;base64,") for address in page.images)
    assert all(page.alts)
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert f'content="{policy}"' in text


def test_a_picture_that_is_gone_and_trials_without_pictures_are_named(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert "lost: there is no file gone.png" in page.texts
    (told,) = [text for text in page.texts if text.startswith("Without pictures here")]
    assert "baseline-seed2" in told and "convnext-seed0" not in told and "1 more" in told


def test_the_sections_stand_in_the_order_in_which_they_are_read(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        *("Differences from the baseline", "Table", "Overview", "Trials that did not finish", "Notes"),
        *("Training loss", "Samples", "Segmentation masks", "Cost", "Methods"),
    ]


def _page(trials: pd.DataFrame, folder: Path, **more: Any) -> str:
    write(summary_of(trials), trials, folder, **more)
    return (folder / "report.html").read_text(encoding="utf-8")


def _rows(page: str, title: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, as HTML, by their first."""
    _Page(page)
    body = page.split(f"<h2>{title}</h2>")[1].split("</table>")[0]
    rows = (row.split("</td>")[:-1] for row in body.split("<tr>")[2:])
    cells = [[re.sub("<td.*?>", "", cell) for cell in row] for row in rows]
    return {first: rest for first, *rest in cells}


def test_the_page_has_the_iou_by_class_with_the_best_in_bold(tmp_path: Path) -> None:
    page = _page(probed_study(), tmp_path)
    assert _rows(page, "IoU by class") == {
        "baseline": ["2", "0.500", "<b>0.250</b>"],
        "convnext": ["2", "<b>0.750</b>", "–"],
        "cosine": ["2", "0.500", "0.125"],
        "held-out": ["2", "0.875", "0.000"],  # a control, though it is better than all
    }
    assert EVIL in _Page(page).texts
    assert _Page(page).scripts == ["application/json", None]


def test_the_page_has_the_frechet_distances_by_number_of_samples(tmp_path: Path) -> None:
    rows = _rows(_page(paper_study(), tmp_path), "FID and the number of samples")
    assert rows["cosine"] == ["3", "500", "123.0", "111.0", "99.0", "61.50", "55.50", "49.50"]
    assert list(rows) == ["baseline", "convnext", "cosine", "held-out"]


def test_a_frechet_distance_that_a_variant_lacks_is_a_dash(tmp_path: Path) -> None:
    trials = paper_study()
    trials.loc[trials["variant"] == "cosine", ["fid_half", "fid", "fid_extrapolated"]] = np.nan
    rows = _rows(_page(trials, tmp_path), "FID and the number of samples")
    assert rows["cosine"] == ["3", "500", "123.0", "111.0", "99.0", "–", "–", "–"]


def test_a_page_has_no_empty_sections(tmp_path: Path) -> None:
    page = _page(digits_study(), tmp_path)
    found = re.findall("<h2>(.*?)</h2>", page)
    assert found == ["Differences from the baseline", "Table", "Cost", "Methods"]
    assert "<details>" not in page


def test_a_study_of_nothing_but_a_baseline_has_its_table(tmp_path: Path) -> None:
    trials = digits_study(seeds=1)
    page = _page(trials[trials["variant"] == "baseline"], tmp_path)
    assert "<svg" not in page
    assert "With fewer than 3 seeds there is no interval, and nothing is claimed." in page


def test_the_heat_map_is_a_table_of_figures_that_can_be_read(tmp_path: Path) -> None:
    page = _page(probed_study(), tmp_path)
    cells = re.findall('<td class="heat"(?: style="background:(#[0-9a-f]{6});color:(\\w+)" [^>]*)?>(.*?)</td>', page)
    assert [text for *_, text in cells] == ["0.550", "0.650", "0.650", "–"]
    (low, on_low, _), (high, on_high, _), *_ = cells
    assert (low, on_low, on_high) == ("#440154", "white", "black")  # the ends of viridis
    assert high == "#fde725"
    assert "Baseline and 2 variants, 1 control, 2 seeds, 11 of 12 trials finished." in page  # a cell is no variant
    assert "The baseline, with all its blocks and timesteps: 0.605." in page


def test_the_table_and_the_pictures_alone_are_those_of_the_page(tmp_path: Path) -> None:
    trials = digits_study()
    (*_, written) = write(summary_of(trials), trials, tmp_path / "report")
    page, table = written.read_text(encoding="utf-8"), html_table(summary_of(trials), trials)
    assert "<table>" in table and table.split("<p", 1)[0].strip() in page
    assert "↓ lower is better" in table
    file = picture(tmp_path / "grid.png")
    shown = _Page(html_pictures({EVIL: {"samples": file}}))
    assert shown.alts == ["samples"]
    assert {EVIL, "samples"} <= set(shown.texts)


def test_200_trials_are_a_page_of_5_mb_made_in_10_s_of_a_core(tmp_path: Path) -> None:
    trials = large_study(variants=40, seeds=5)
    for i, (variant, seed) in enumerate(zip(trials["variant"], trials["seed"], strict=True)):
        save_shown(tmp_path, variant, seed, shown_trial(side=32, channels=3, seed=i))
    summary, begun = summary_of(trials), time.process_time()
    write(summary, trials, tmp_path)
    assert time.process_time() - begun < 10
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 5_000_000
    (left_out,) = re.findall("Left out, for the page&#x27;s size: (.*?)\\. All pictures lie in", page)
    # Noise is what takes the most bytes: one seed of it fits, and what did not is named.
    assert "samples, seed 0" not in left_out
    assert {f"{what}, seed {seed}" for what in ("samples", "masks") for seed in (2, 3, 4)} <= set(left_out.split("; "))
    assert page.count("<img") >= 2 * 40
