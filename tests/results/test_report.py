"""The files of a report: which there are, and that none is ever half written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from results.report import write
from results.trials import TRIAL_COLUMNS
from tests.results.drawn import console_text
from tests.results.studies import digits_study, probed_study, summary_of


def test_the_folder_has_the_files_and_nothing_half_written(written: Path) -> None:
    made = ["report.html", "table.csv", "table.md", "table.tex"]
    assert sorted(path.name for path in written.iterdir()) == ["pictures", *made[:1], "study.yaml", *made[1:]]


def test_a_write_that_breaks_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = digits_study()
    write(summary_of(trials), trials, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(self: Path, text: str, encoding: str) -> int:
        with self.open("w", encoding=encoding) as file:
            file.write(text[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        write(summary_of(trials), trials, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_who_reads_a_table_while_it_is_written_anew_reads_the_old_one(tmp_path: Path) -> None:
    trials = digits_study()
    write(summary_of(trials), trials, tmp_path)
    old = (tmp_path / "table.md").read_text(encoding="utf-8")
    with (tmp_path / "table.md").open(encoding="utf-8") as reader:
        write(summary_of(digits_study(seeds=1)), digits_study(seeds=1), tmp_path)
        assert reader.read() == old
    assert (tmp_path / "table.md").read_text(encoding="utf-8") != old


def test_csv_is_the_whole_summary_in_full_precision(written: Path) -> None:
    table = pd.read_csv(written / "table.csv")
    row = table[(table["variant"] == "convnext") & (table["metric"] == "fid_digits")].iloc[0]
    assert (row["n"], row["difference"], row["verdict"], row["level"]) == (3, -10.0, "helps", "confirmed")
    assert 0.012 < row["p"] < 0.014
    assert (
        row["ci_low"] == summary_of(digits_study()).set_index(["variant", "metric"])["ci_low"]["convnext", "fid_digits"]
    )


def test_html_title_is_the_folders_name_by_default(tmp_path: Path) -> None:
    trials = digits_study()
    write(summary_of(trials), trials, tmp_path / "my-study")
    assert "<title>my-study</title>" in (tmp_path / "my-study" / "report.html").read_text(encoding="utf-8")


def test_an_empty_study_renders(tmp_path: Path) -> None:
    trials = pd.DataFrame(columns=list(TRIAL_COLUMNS))
    assert "variant" in console_text(trials)
    assert len(write(summary_of(trials), trials, tmp_path)) == 4


def test_breakdowns_are_written_where_there_is_something_in_them(tmp_path: Path) -> None:
    trials = probed_study()
    paths = write(summary_of(trials), trials, tmp_path)
    assert [path.name for path in paths[4:]] == ["iou_by_class.csv", "heat_map.csv"]
    assert (tmp_path / "heat_map.csv").read_text() == "block,50,150\n5,0.55,0.65\n6,0.65,\n"
    iou = pd.read_csv(tmp_path / "iou_by_class.csv", index_col="variant")
    assert iou["cat"].to_dict() == {"baseline": 0.5, "convnext": 0.75, "cosine": 0.5, "held-out": 0.875}


def test_breakdowns_of_an_earlier_write_do_not_stay_beside_a_table_without_them(tmp_path: Path) -> None:
    write(summary_of(probed_study()), probed_study(), tmp_path)
    write(summary_of(digits_study()), digits_study(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "table.csv", "table.md", "table.tex"]
