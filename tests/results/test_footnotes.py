"""The lines below the table, by the table in Markdown, where each is a sentence."""

from __future__ import annotations

import pandas as pd
import pytest

from results.markdown import markdown_table
from tests.results.studies import digits_study, paper_study, summary_of, trial


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


WHOLE = {"fid_digits": "64x64", "fid": "2048x2048"}


@pytest.mark.parametrize(
    ("samples", "few", "few_in_a_half"),
    [
        (64, ["fid_digits", "fid"], []),
        (65, ["fid"], ["fid_digits"]),
        (129, ["fid"], ["fid_digits"]),
        (130, ["fid"], []),
        (2048, ["fid"], []),
        (2049, [], ["fid"]),
        (4097, [], ["fid"]),
        (4098, [], []),
    ],
)
def test_a_frechet_distance_from_too_few_samples_is_called_a_smoke_value(
    samples: int, few: list[str], few_in_a_half: list[str]
) -> None:
    trials = paper_study(samples)
    lines = markdown_table(summary_of(trials), trials).splitlines()
    whole = [f"{n} from {samples} samples is a smoke value: its {WHOLE[n]} covariance is singular." for n in few]
    half = [
        f"{n} at half of {samples} samples, and its extrapolation, are smoke values: their {WHOLE[n]} covariance is "
        "singular."
        for n in few_in_a_half
    ]
    assert sorted(line for line in lines if "smoke" in line) == sorted(whole + half)


@pytest.mark.parametrize(("images", "smoke"), [(64, True), (65, False)])
def test_a_reference_of_too_few_images_makes_a_smoke_value_too(images: int, smoke: bool) -> None:
    trials = digits_study()
    trials["samples"], trials["reference_images"] = 500, images
    line = "fid_digits against 64 real images is a smoke value: their 64x64 covariance is singular."
    assert (line in markdown_table(summary_of(trials), trials)) == smoke


def test_what_the_plan_remarked_is_said_once_with_the_rows_that_it_is_of() -> None:
    trials = digits_study()
    trials.loc[trials["variant"] != "convnext", "remarks"] = "sampling begins from noise alone; it never saw that"
    lines = markdown_table(summary_of(trials), trials).splitlines()
    assert "Baseline, cosine, held-out: sampling begins from noise alone." in lines
    assert "Baseline, cosine, held-out: it never saw that." in lines
    trials["remarks"] = "no miou"
    assert "All rows: no miou." in markdown_table(summary_of(trials), trials).splitlines()
    assert "remarks" not in "".join(markdown_table(summary_of(digits_study()), digits_study()))


def test_smoke_values_of_several_sizes_are_given_as_a_range() -> None:
    trials = paper_study()
    trials.loc[trials["variant"] == "held-out", "samples"] = 300
    trials.loc[trials["variant"] == "convnext", "samples"] = 5000  # enough
    assert "fid from 300 to 500 samples is a smoke value" in markdown_table(summary_of(trials), trials)


def test_rows_that_different_code_made_are_named_with_it() -> None:
    trials = digits_study()
    trials["code"], trials["git_commit"] = "0123456789", "a" * 40
    assert "different code" not in markdown_table(summary_of(trials), trials)
    trials.loc[trials["variant"] == "cosine", ["code", "git_commit"]] = ["abcdef0123", "b" * 40]
    footnotes = markdown_table(summary_of(trials), trials)
    others = ", ".join(name for name in trials["variant"].unique() if name != "cosine")
    first, second = f"{others} by 0123456789 (commit aaaaaaaaaaaa)", "cosine by abcdef0123 (commit bbbbbbbbbbbb)"
    assert f"Made by different code: {first}; {second}.".replace("_", "\\_") in footnotes.replace("_", "\\_")


def test_code_that_was_not_recorded_is_said_to_be_so() -> None:
    trials = digits_study()
    trials["code"] = "0123456789"
    trials.loc[trials["variant"] == "cosine", "code"] = ""
    assert "cosine by code that was not recorded" in markdown_table(summary_of(trials), trials)


def test_what_was_accepted_of_other_code_is_named_with_its_stages() -> None:
    trials = digits_study()
    trials.loc[trials["variant"] == "cosine", "accepted_code"] = "ddpm, samples"
    footnotes = markdown_table(summary_of(trials), trials)
    assert "By --accept-code as other code had made it (ddpm, samples): cosine." in footnotes


def test_rows_of_earlier_commands_are_named() -> None:
    trials = digits_study()
    assert "not part of this command" not in markdown_table(summary_of(trials), trials).lower()
    trials.attrs["asked"] = [name for name in trials["variant"].unique() if name != "cosine"]
    footnotes = markdown_table(summary_of(trials), trials)
    assert "Not part of this command, kept from earlier ones of this study: cosine." in footnotes


def test_rows_that_were_made_with_other_libraries_or_devices_are_named() -> None:
    trials = digits_study()
    trials["made_with"] = "cpu, 1 thread, torch 2.11.0"
    assert "made alike" not in markdown_table(summary_of(trials), trials)
    trials.loc[trials["variant"] == "cosine", "made_with"] = "cpu, 2 threads, torch 2.11.0"
    assert "cosine with cpu, 2 threads, torch 2.11.0." in markdown_table(summary_of(trials), trials)
