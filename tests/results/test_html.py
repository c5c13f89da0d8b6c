"""The page as a browser reads it."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.html import html_pictures, html_table
from results.report import write
from tests.results.studies import EVIL, digits_study, paper_study, probed_study, summary_of


class _Page(HTMLParser):
    """What a browser would make of the page: its texts, its images, its scripts; refuses unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.images: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_shows_texts_as_texts(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert EVIL in page.texts
    assert f"{EVIL}: seed 0 FAILED: ValueError: a < b & c" in page.texts
    assert f"{EVIL}, seed 0: resumed" in page.texts


def test_html_has_title_verdicts_and_provenance(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert page.texts.count("digits & co") == 2  # title and heading
    assert "fid_digits, convnext: helps (−10.0 [−16.1, −3.5], confirmed, p 0.013)" in page.texts
    assert "Code: 0123456789ab with changes that are not committed. Machines: node-1." in page.texts


def test_html_is_one_file_with_its_pictures_inside_and_says_which_are_missing(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    data = "data:image/png;base64," + base64.b64encode(b"\x89PNG not really").decode()
    assert page.images == [data, data]
    assert "link" not in page.tags
    assert "masks: there is no file gone.png" in page.texts


def _page(trials: pd.DataFrame, folder: Path, **more: Any) -> str:
    write(summary_of(trials), trials, folder, **more)
    return (folder / "report.html").read_text(encoding="utf-8")


def _rows(page: str, title: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, as HTML, by their first."""
    _Page(page)
    body = page.split(f"<h2>{title}</h2>")[1].split("</table>")[0]
    rows = (row.split("</td>")[:-1] for row in body.split("<tr>")[2:])
    cells = [[cell.removeprefix("<td>") for cell in row] for row in rows]
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
    assert "script" not in _Page(page).tags


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
    for title in ("Overview", "IoU by class", "FID and the number of samples"):
        assert title not in page


def test_the_overview_stands_between_the_table_and_the_rest(tmp_path: Path) -> None:
    picture = tmp_path / "heat_map.png"
    picture.write_bytes(b"\x89PNG not really")
    page = _page(probed_study(), tmp_path / "report", overview={"the <map>": picture, "lost": tmp_path / "lost.png"})
    assert len(_Page(page).images) == 1
    assert "the <map>" in _Page(page).texts
    assert "lost: there is no file lost.png" in _Page(page).texts
    order = ["</table>", "<h2>Overview</h2>", "<img", "<h2>Verdicts</h2>", "<h2>IoU by class</h2>"]
    assert sorted(order, key=page.index) == order


def test_the_table_and_the_pictures_alone_are_those_of_the_page(tmp_path: Path) -> None:
    trials = digits_study()
    (*_, written) = write(summary_of(trials), trials, tmp_path / "report")
    page, table = written.read_text(encoding="utf-8"), html_table(summary_of(trials), trials)
    assert "<table>" in table and table.split("<p", 1)[0].strip() in page
    _Page(table)
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    shown = _Page(html_pictures({EVIL: {"samples": picture}}))
    assert shown.images == ["data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()]
    assert {EVIL, "samples"} <= set(shown.texts)
