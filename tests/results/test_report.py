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

from results.caption import ONE_SEED_ADVICE
from results.report import console_table, markdown_table, write
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
    assert "at the bottom the controls" in text


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


def _paper(samples: float = 500) -> pd.DataFrame:
    """The paper's study, in which the cosine schedule's FID at infinity is below the baseline's."""
    cost = {"baseline": 8.0, "convnext": 8.0, "cosine": 12.0, "held-out": 2.0}
    trials = _study()
    trials["samples"] = samples
    for name, scale in (("fid", 0.5), ("fid_digits", 1.0)):
        trials[name] = trials["fid_digits"] * scale
        bias = trials["variant"].map(cost) * scale * 500 / samples
        trials[f"{name}_half"], trials[f"{name}_extrapolated"] = trials[name] + bias, trials[name] - bias
    trials["kid"] = trials["fid"] / 1000
    trials["published_fid"] = trials["variant"].map({"baseline": 47.081, "cosine": 46.5})
    return trials


PAPER_CAPTION = "another reference; a difference from it is no test"


def test_the_papers_figure_stands_beside_the_metric_as_it_is_printed() -> None:
    table, *rest = markdown_table(_summary(_paper()), _paper()).split("\n\n")
    header, _, *rows = ([text.strip() for text in line.split("|")] for line in table.splitlines())
    column = header.index("paper's fid")
    assert header[column - 1] == "fid ↓"
    assert {row[1]: row[column] for row in rows} == {
        **{"baseline": "47.081", "convnext": "–", "cosine": "46.5", "*held-out*": "–"},
    }
    assert PAPER_CAPTION in rest[-1]


def test_without_a_published_figure_there_is_no_column_and_no_line() -> None:
    text = markdown_table(_summary(_study()), _study()) + _console(_study(), 80)
    assert "paper" not in text


def test_a_failed_variant_keeps_the_papers_figure() -> None:
    trials = _paper()
    trials.loc[trials["variant"] == "cosine", "status"] = "FAILED"
    assert "| FAILED | 46.5 |" in _line(markdown_table(_summary(trials), trials), "| cosine")


@pytest.mark.parametrize(("width", "figure"), [(200, "47.081"), (120, "paper 47.081")])
def test_on_consoles_the_papers_figure_is_beside_or_below_the_mean(width: int, figure: str) -> None:
    text = _console(_paper(), width)
    lines = text.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("baseline"))
    assert figure in lines[row if width == 200 else row + 1]
    for words in ("100.0 ± 3.0", "50.00 ± 1.50", "[−6.24, −3.76]", "0.0500 ± 0.0015", "inconclusive"):
        assert words in text  # whole
    assert "paper's fid" in text
    assert max(map(len, lines)) <= width


def test_the_caption_names_the_pairs_that_the_number_of_samples_decides() -> None:
    caption = markdown_table(_summary(_paper()), _paper())
    assert "\nfid: extrapolated to infinitely many samples, baseline and cosine change places." in caption
    many = _paper(samples=1e6)  # hardly any bias left
    assert "change places" not in markdown_table(_summary(many), many)


def test_of_many_pairs_some_are_named_and_the_rest_counted() -> None:
    rows = [
        _trial(f"v{i}", 0, i, samples=9e9, fid=10.0 + i, fid_half=20.0 + 3 * i, fid_extrapolated=-i) for i in range(5)
    ]
    caption = markdown_table(_summary(pd.DataFrame(rows)), pd.DataFrame(rows))
    assert "v0 and v1; v0 and v2; v0 and v3; v0 and v4; 6 more pairs change places." in caption


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
    trials = _paper(samples)
    lines = markdown_table(_summary(trials), trials).splitlines()
    assert [line for line in lines if "smoke" in line] == [
        f"{name} from {samples} samples is a smoke value: its {size} covariance is singular."
        for name, size in smoke.items()
    ]


def test_smoke_values_of_several_sizes_are_given_as_a_range() -> None:
    trials = _paper()
    trials.loc[trials["variant"] == "held-out", "samples"] = 300
    trials.loc[trials["variant"] == "convnext", "samples"] = 5000  # enough
    assert "fid from 300 to 500 samples is a smoke value" in markdown_table(_summary(trials), trials)


def test_miou_by_the_references_rule_stands_beside_miou_where_it_was_asked_for() -> None:
    trials = _study()
    trials["miou_reference"], trials["pixel_accuracy"] = trials["miou"] - 0.1, 0.9
    header = markdown_table(_summary(trials), trials).splitlines()[0]
    assert header.index("miou ↑") < header.index("miou_reference ↑")
    assert "pixel_accuracy" not in header
    assert "miou_reference" not in markdown_table(_summary(_study()), _study())


def _probed() -> pd.DataFrame:
    """A segmentation study with the IoU of two classes and four probes, of which one failed."""
    iou = {"baseline": (0.5, 0.25), "convnext": (0.75, np.nan), "cosine": (0.5, 0.125), "held-out": (0.875, 0.0)}
    trials = _study(seeds=2)
    for i, name in enumerate(("cat", EVIL)):
        trials[f"iou/{name}"] = [iou[variant][i] for variant in trials["variant"]]
    probes = [
        _trial(f"block{block}-t{t}", 0, 9, kind="probe", delta="-", miou=block / 10 + t / 1000)
        | {"params.segmentation.blocks": f"[{block}]", "params.segmentation.timesteps": f"[{t}]"}
        for block in (5, 6)
        for t in (50, 150)
    ]
    probes[-1] |= {"status": "FAILED", "error": "MemoryError", "miou": np.nan}
    return _with(trials, *probes)


def test_a_probe_is_in_the_table_only_where_it_failed() -> None:
    text = _console(_probed())
    assert "FAILED" in _line(text, "block6-t150")
    assert "block5" not in text


def test_views_are_written_where_there_is_something_in_them(tmp_path: Path) -> None:
    trials = _probed()
    paths = write(_summary(trials), trials, tmp_path)
    assert [path.name for path in paths[4:]] == ["iou_by_class.csv", "heat_map.csv"]
    assert (tmp_path / "heat_map.csv").read_text() == "block,50,150\n5,0.55,0.65\n6,0.65,\n"
    iou = pd.read_csv(tmp_path / "iou_by_class.csv", index_col="variant")
    assert iou["cat"].to_dict() == {"baseline": 0.5, "convnext": 0.75, "cosine": 0.5, "held-out": 0.875}


def test_views_of_an_earlier_write_do_not_stay_beside_a_table_without_them(tmp_path: Path) -> None:
    write(_summary(_probed()), _probed(), tmp_path)
    write(_summary(_study()), _study(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "table.csv", "table.md", "table.tex"]


def _page(trials: pd.DataFrame, folder: Path, **more: Any) -> str:
    write(_summary(trials), trials, folder, **more)
    return (folder / "report.html").read_text(encoding="utf-8")


def _rows(page: str, title: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, as HTML, by their first."""
    _Page(page)
    body = page.split(f"<h2>{title}</h2>")[1].split("</table>")[0]
    rows = (row.split("</td>")[:-1] for row in body.split("<tr>")[2:])
    cells = [[cell.removeprefix("<td>") for cell in row] for row in rows]
    return {first: rest for first, *rest in cells}


def test_the_page_has_the_iou_by_class_with_the_best_in_bold(tmp_path: Path) -> None:
    page = _page(_probed(), tmp_path)
    assert _rows(page, "IoU by class") == {
        "baseline": ["2", "0.500", "<b>0.250</b>"],
        "convnext": ["2", "<b>0.750</b>", "–"],
        "cosine": ["2", "0.500", "0.125"],
        "held-out": ["2", "0.875", "0.000"],  # a control, though it is better than all
    }
    assert EVIL in _Page(page).texts
    assert "script" not in _Page(page).tags


def test_the_page_has_the_frechet_distances_by_number_of_samples(tmp_path: Path) -> None:
    rows = _rows(_page(_paper(), tmp_path), "FID and the number of samples")
    assert rows["cosine"] == ["3", "500", "123.0", "111.0", "99.0", "61.50", "55.50", "49.50"]
    assert list(rows) == ["baseline", "convnext", "cosine", "held-out"]


def test_a_frechet_distance_that_a_variant_lacks_is_a_dash(tmp_path: Path) -> None:
    trials = _paper()
    trials.loc[trials["variant"] == "cosine", ["fid_half", "fid", "fid_extrapolated"]] = np.nan
    rows = _rows(_page(trials, tmp_path), "FID and the number of samples")
    assert rows["cosine"] == ["3", "500", "123.0", "111.0", "99.0", "–", "–", "–"]


def test_a_page_has_no_empty_sections(tmp_path: Path) -> None:
    page = _page(_study(), tmp_path)
    for title in ("Overview", "IoU by class", "FID and the number of samples"):
        assert title not in page


def test_the_overview_stands_between_the_table_and_the_rest(tmp_path: Path) -> None:
    picture = tmp_path / "heat_map.png"
    picture.write_bytes(b"\x89PNG not really")
    page = _page(_probed(), tmp_path / "report", overview={"the <map>": picture, "lost": tmp_path / "lost.png"})
    assert len(_Page(page).images) == 1
    assert "the <map>" in _Page(page).texts
    assert "lost: there is no file lost.png" in _Page(page).texts
    order = ["</table>", "<h2>Overview</h2>", "<img", "<h2>Verdicts</h2>", "<h2>IoU by class</h2>"]
    assert sorted(order, key=page.index) == order
