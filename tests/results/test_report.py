"""What a person reads: on consoles of two widths, in Markdown, LaTeX and HTML."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from results.report import console_table, markdown_table, write
from results.sheet import ONE_SEED_ADVICE
from results.table import TRIAL_COLUMNS, present_metrics, summarise

EVIL = "<script>alert(1)</script>|[red]&_%"


def _trial(variant: str, seed: int, position: int, **more: Any) -> dict[str, Any]:
    blank = dict.fromkeys(TRIAL_COLUMNS, "")
    known = {"variant": variant, "seed": seed, "position": position, "kind": "variant", "status": "FINISHED"}
    cost = {"parameters": 198_123.0, "wall_time_s": 112.0, "fid_digits": np.nan, "miou": np.nan}
    return {**blank, **known, **cost, **more}


def _study(seeds: int = 3) -> pd.DataFrame:
    noise = (0.0, 1.0, -1.0, 0.5, -0.5, 0.2)
    rows = []
    for seed in range(seeds):
        e = noise[seed]
        control = {"kind": "control", "fid_digits": 17.0 + 0.1 * e}
        floor = "real held-out images: the floor of FID"
        rows += [
            _trial("baseline", seed, 0, delta="-", fid_digits=110 + 2 * e, miou=0.6 + 0.01 * e),
            _trial("convnext", seed, 1, delta="unet.block=convnext", fid_digits=100 + 3 * e, miou=0.65 + 0.02 * e),
            _trial("cosine", seed, 2, delta="diffusion.beta_schedule=cosine", fid_digits=111 - e, miou=0.6 - 0.01 * e),
            _trial("held-out", seed, 3, delta=floor, **control),
        ]
    return pd.DataFrame(rows)


def _with(trials: pd.DataFrame, *rows: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([trials, pd.DataFrame(rows)], ignore_index=True)


def _summary(trials: pd.DataFrame) -> pd.DataFrame:
    return summarise(trials, present_metrics(trials))


def _console(trials: pd.DataFrame, width: int = 120) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(console_table(_summary(trials), trials, width))
    return captured.get()


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_at_120_columns_mean_difference_and_verdict_stand_side_by_side() -> None:
    text = _console(_study())
    assert "fid_digits ↓" in text
    assert "miou ↑" in text
    first = _line(text, "convnext")
    for words in ("unet.block=convnext", "100.0 ± 3.0", "−10.0 helps", "0.650 ± 0.020", "+0.050 helps", "198 k"):
        assert words in first
    second = text.splitlines()[text.splitlines().index(first) + 1]
    assert "[−12.5, −7.5]" in second  # 10 +- 2.48 SD, and the differences' SD is 1
    assert "1 m 52 s" in second
    assert "inconclusive" in _line(text, "cosine")
    assert max(map(len, text.splitlines())) <= 120


def test_at_80_columns_every_number_is_whole() -> None:
    text = _console(_study(), width=80)
    for words in ("100.0 ± 3.0", "−10.0", "[−12.5, −7.5]", "helps", "0.650 ± 0.020", "inconclusive", "1 m 52 s"):
        assert words in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_setting_longer_than_its_column_is_folded_and_not_cut() -> None:
    trials = _with(_study(), _trial("long", 0, 9, delta="unet.antidisestablishmentarianism=1", fid_digits=1.0))
    lines = _console(trials, width=80).splitlines()
    header = next(line for line in lines if "what changed" in line)
    column = slice(header.index("what changed"), header.index(" n "))
    assert "unet.antidisestablishmentarianism=1" in "".join(line[column].strip() for line in lines)


def test_baseline_is_first_and_the_controls_are_below_a_line() -> None:
    lines = _console(_study()).splitlines()
    starts = [line.split(" ")[0] for line in lines if line[:1] not in ("", " ")]
    assert starts[0] == "variant"
    assert starts[2:5] == ["baseline", "convnext", "cosine"]
    assert set(starts[5]) == {"─"}
    assert starts[6] == "held-out"


def test_the_caption_says_what_the_arrows_intervals_and_controls_are() -> None:
    text = _console(_study())
    assert "↓ lower is better, ↑ higher is better" in text
    assert "[its 95 % interval]" in text  # not eaten as markup
    assert "the floor and the ceiling" in text


@pytest.mark.parametrize("width", [120, 80])
def test_one_seed_has_no_interval_no_spread_and_says_so_once(width: int) -> None:
    text = _console(_study(seeds=1), width)
    assert "−10.0" in text
    assert "[" not in text
    assert "±" not in text
    assert "helps" not in text
    assert text.count("one seed") == 1
    assert ONE_SEED_ADVICE in text


def test_p_is_shown_from_six_pairs_on() -> None:
    assert "p 0.062" in _console(_study(seeds=6))  # 2 / 2^6, corrected for two variants
    assert "p 0." not in _console(_study(seeds=5))


def test_a_variant_that_failed_says_failed_and_the_errors_last_line() -> None:
    error = "Traceback\n  somewhere\nMemoryError: 2 GiB"
    failed = [_trial("wide", seed, 3, delta="unet.base_channels=96", status="FAILED", error=error) for seed in (0, 1)]
    text = _console(_with(_study(), *failed))
    assert "FAILED" in _line(text, "wide")
    assert "seeds 0, 1 FAILED:" in text
    assert "MemoryError: 2 GiB" in " ".join(text.split())
    assert "Traceback" not in text


def test_a_failed_seed_stands_under_its_variants_numbers() -> None:
    trials = _study()
    trials.loc[(trials["variant"] == "convnext") & (trials["seed"] == 1), ["status", "error"]] = ["FAILED", "OSError"]
    trials.loc[(trials["variant"] == "cosine") & (trials["seed"] == 2), "status"] = "RUNNING"
    lines = _console(trials).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("convnext"))
    assert "98.5 ± 2.1" in lines[row]
    assert "seed 1 FAILED: OSError" in lines[row + 2]
    assert any("seed 2 RUNNING" in line for line in lines)


def test_a_study_in_which_nothing_finished_still_lists_its_variants() -> None:
    trials = pd.DataFrame([_trial("baseline", 0, 0, status="FAILED", error="OSError: disk full")])
    assert "seed 0 FAILED: OSError: disk full" in _console(trials)
    assert "| baseline |" in markdown_table(_summary(trials), trials)


def test_a_metric_that_fewer_seeds_have_says_how_many() -> None:
    trials = _study()
    trials.loc[(trials["variant"] == "convnext") & (trials["seed"] == 1), "miou"] = np.nan
    row = _line(markdown_table(_summary(trials), trials), "| convnext")
    assert "100.0 ± 3.0 |" in row
    assert "(n=2)" in row


def test_seeds_without_a_partner_are_said() -> None:
    trials = _study()
    trials = trials[(trials["variant"] != "baseline") | (trials["seed"] < 2)]
    assert ", 2 pairs |" in _line(markdown_table(_summary(trials), trials), "| convnext")


@pytest.mark.parametrize(
    ("parameters", "seconds", "words"),
    [
        (512, 0.42, "| 512 | 0.4 s |"),
        (1500, 52.3, "| 1.50 k | 52 s |"),
        (999_600, 59.7, "| 1.00 M | 1 m 00 s |"),
        (35_700_000, 3600 * 2 + 300, "| 35.7 M | 2 h 05 m |"),
        (552_810_000, 111.6, "| 553 M | 1 m 52 s |"),
    ],
)
def test_counts_and_durations_read_well(parameters: float, seconds: float, words: str) -> None:
    trials = pd.DataFrame([_trial("baseline", 0, 0, fid_digits=1.0, parameters=parameters, wall_time_s=seconds)])
    assert words in markdown_table(_summary(trials), trials)


def test_markdown_rows_all_have_the_headers_columns() -> None:
    trials = _with(_study(), _trial(EVIL, 0, 9, delta="a|b=1", fid_digits=1.0))
    table, *rest = markdown_table(_summary(trials), trials).split("\n\n")
    counts = {line.replace("\\|", "").count("|") for line in table.splitlines()}
    assert counts == {12}  # 11 columns: 3 + 2 x 3 + 2
    assert "<script>" not in table
    assert "`a\\|b=1`" in table
    assert "*held-out*" in table
    assert rest[-1].startswith("↓ lower is better")


def test_markdown_makes_no_link_of_a_name() -> None:
    trials = _with(_study(), _trial("[click](javascript:alert)", 0, 9, fid_digits=1.0))
    assert "[click\\](javascript" in markdown_table(_summary(trials), trials)


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


@pytest.fixture
def written(tmp_path: Path) -> Path:
    picture = tmp_path / "grid.png"
    picture.write_bytes(b"\x89PNG not really")
    failed = _trial(EVIL, 0, 9, delta=EVIL, status="FAILED", error="ValueError: a < b & c", status_note="resumed")
    trials = _with(_study(), failed)
    trials["git_commit"], trials["git_dirty"], trials["machine"] = "0123456789abcdef", "true", "node-1"
    pictures = {"convnext": {"samples": picture, "masks": tmp_path / "gone.png"}, EVIL: {EVIL: picture}}
    paths = write(_summary(trials), trials, tmp_path / "report", pictures, study="digits & co")
    assert paths == [tmp_path / "report" / name for name in ("table.csv", "table.md", "table.tex", "report.html")]
    return tmp_path / "report"


def test_the_folder_has_the_files_and_nothing_half_written(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == ["report.html", "table.csv", "table.md", "table.tex"]


def test_a_write_that_breaks_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = _study()
    write(_summary(trials), trials, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(self: Path, text: str, encoding: str) -> int:
        with self.open("w", encoding=encoding) as file:
            file.write(text[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        write(_summary(trials), trials, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_who_reads_a_table_while_it_is_written_anew_reads_the_old_one(tmp_path: Path) -> None:
    trials = _study()
    write(_summary(trials), trials, tmp_path)
    old = (tmp_path / "table.md").read_text(encoding="utf-8")
    with (tmp_path / "table.md").open(encoding="utf-8") as reader:
        write(_summary(_study(seeds=1)), _study(seeds=1), tmp_path)
        assert reader.read() == old
    assert (tmp_path / "table.md").read_text(encoding="utf-8") != old


def test_csv_is_the_whole_summary_in_full_precision(written: Path) -> None:
    table = pd.read_csv(written / "table.csv")
    row = table[(table["variant"] == "convnext") & (table["metric"] == "fid_digits")].iloc[0]
    assert (row["n"], row["difference"], row["p"], row["verdict"]) == (3, -10.0, 0.25, "helps")
    assert row["ci_low"] == pytest.approx(-10 - 4.302653 / np.sqrt(3))


def test_html_shows_texts_as_texts(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert EVIL in page.texts
    assert f"{EVIL}: seed 0 FAILED: ValueError: a < b & c" in page.texts
    assert f"{EVIL}, seed 0: resumed" in page.texts


def test_html_has_title_verdicts_and_provenance(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    assert page.texts.count("digits & co") == 2  # title and heading
    assert "fid_digits, convnext: helps (−10.0 [−12.5, −7.5])" in page.texts
    assert "Code: 0123456789ab with changes that are not committed. Machines: node-1." in page.texts


def test_html_is_one_file_with_its_pictures_inside_and_says_which_are_missing(written: Path) -> None:
    page = _Page((written / "report.html").read_text(encoding="utf-8"))
    data = "data:image/png;base64," + base64.b64encode(b"\x89PNG not really").decode()
    assert page.images == [data, data]
    assert "link" not in page.tags
    assert "masks: there is no file gone.png" in page.texts


def test_html_title_is_the_folders_name_by_default(tmp_path: Path) -> None:
    trials = _study()
    write(_summary(trials), trials, tmp_path / "my-study")
    assert "<title>my-study</title>" in (tmp_path / "my-study" / "report.html").read_text(encoding="utf-8")


def test_latex_rows_are_whole_and_special_letters_are_escaped(written: Path) -> None:
    text = (written / "table.tex").read_text(encoding="utf-8")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {10}
    row = next(line for line in body if "script" in line)
    assert row.startswith(
        r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}\textbar{}[red]\&\_\%"
    )
    assert r"$-$10.0 [$-$12.5, $-$7.5] & helps" in text
    assert r"100.0 $\pm$ 3.0" in text


def test_a_latex_row_cannot_begin_as_an_argument_of_the_row_above(tmp_path: Path) -> None:
    trials = _with(_study(), _trial("[2cm]", 0, 9, fid_digits=1.0))
    write(_summary(trials), trials, tmp_path)
    assert "\n{[2cm]} & " in (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_an_empty_study_renders(tmp_path: Path) -> None:
    trials = pd.DataFrame(columns=list(TRIAL_COLUMNS))
    assert "variant" in _console(trials)
    assert len(write(_summary(trials), trials, tmp_path)) == 4
