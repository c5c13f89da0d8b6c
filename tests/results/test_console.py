"""The table on consoles of several widths."""

from __future__ import annotations

import pytest

from results.footnotes import ONE_SEED_ADVICE
from tests.results.drawn import console_text, line_of
from tests.results.studies import digits_study, paper_study, probed_study, trial, with_trials


def test_at_120_columns_mean_difference_and_verdict_stand_side_by_side() -> None:
    text = console_text(digits_study())
    assert "fid_digits ↓" in text
    assert "miou ↑" in text
    first = line_of(text, "convnext")
    for words in ("unet.block=convnext", "100.0 ± 3.0", "−10.0 helps", "0.650 ± 0.020", "+0.050 helps", "198 k"):
        assert words in first
    second = text.splitlines()[text.splitlines().index(first) + 1]
    assert "[−16.1, −3.5]" in second
    assert "1 m 52 s" in second
    assert "inconclusive" in line_of(text, "cosine")
    assert max(map(len, text.splitlines())) <= 120


def test_at_80_columns_every_number_is_whole() -> None:
    text = console_text(digits_study(), width=80)
    for words in (
        "100.0 ± 3.0",
        "−10.0",
        "[−16.1, −3.5]",
        "helps",
        "confirmed, p 0.013",
        "0.650 ± 0.020",
        "inconclusive",
        "1 m 52 s",
    ):
        assert words in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_setting_longer_than_its_column_is_folded_and_not_cut() -> None:
    trials = with_trials(
        digits_study(), trial("long", 0, 9, delta="unet.antidisestablishmentarianism=1", fid_digits=1.0)
    )
    lines = console_text(trials, width=80).splitlines()
    header = next(line for line in lines if "what changed" in line)
    column = slice(header.index("what changed"), header.index(" n "))
    assert "unet.antidisestablishmentarianism=1" in "".join(line[column].strip() for line in lines)


def test_baseline_is_first_and_the_controls_are_below_a_line() -> None:
    lines = console_text(digits_study()).splitlines()
    starts = [line.split(" ")[0] for line in lines if line[:1] not in ("", " ")]
    assert starts[0] == "variant"
    assert starts[2:5] == ["baseline", "convnext", "cosine"]
    assert set(starts[5]) == {"─"}
    assert starts[6] == "held-out"


def test_the_footnotes_say_what_the_arrows_intervals_and_controls_are() -> None:
    text = console_text(digits_study())
    assert "↓ lower is better, ↑ higher is better" in text
    assert "[]: interval; all of a metric's column hold at once in 95%" in text  # not eaten as markup
    assert "at the bottom the controls" in text


@pytest.mark.parametrize("width", [120, 80])
def test_one_seed_has_no_interval_no_spread_and_says_so_once(width: int) -> None:
    text = console_text(digits_study(seeds=1), width)
    assert "−10.0" in text
    assert "[" not in text
    assert "±" not in text
    assert "helps" not in text
    assert text.count("one seed") == 1
    assert ONE_SEED_ADVICE in text


def test_a_variant_that_failed_says_failed_and_the_errors_last_line() -> None:
    error = "Traceback\n  somewhere\nMemoryError: 2 GiB"
    failed = [trial("wide", seed, 3, delta="unet.base_channels=96", status="FAILED", error=error) for seed in (0, 1)]
    text = console_text(with_trials(digits_study(), *failed))
    assert "FAILED" in line_of(text, "wide")
    assert "seeds 0, 1 FAILED:" in text
    assert "MemoryError: 2 GiB" in " ".join(text.split())
    assert "Traceback" not in text


def test_a_failed_seed_stands_under_its_variants_numbers() -> None:
    trials = digits_study()
    trials.loc[(trials["variant"] == "convnext") & (trials["seed"] == 1), ["status", "error"]] = ["FAILED", "OSError"]
    trials.loc[(trials["variant"] == "cosine") & (trials["seed"] == 2), "status"] = "RUNNING"
    lines = console_text(trials).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("convnext"))
    assert "98.5 ± 2.1" in lines[row]
    assert "seed 1 FAILED: OSError" in lines[row + 2]
    assert any("seed 2 RUNNING" in line for line in lines)


@pytest.mark.parametrize(("width", "figure"), [(220, "47.081"), (120, "paper 47.081")])
def test_on_consoles_the_papers_figure_is_beside_or_below_the_mean(width: int, figure: str) -> None:
    text = console_text(paper_study(), width)
    lines = text.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("baseline"))
    assert figure in lines[row if width == 220 else row + 1]
    for words in ("100.0 ± 3.0", "50.00 ± 1.50", "[−8.06, −1.74]", "0.0500 ± 0.0015", "inconclusive"):
        assert words in text  # whole
    assert "paper's fid" in text
    assert max(map(len, lines)) <= width


def test_a_probe_is_in_the_table_only_where_it_failed() -> None:
    text = console_text(probed_study())
    assert "FAILED" in line_of(text, "block6-t150")
    assert "block5" not in text
