"""How figures, durations, sizes and foreign texts are written."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from results.formatting import NOTHING, count, duration, joined, number, one_line, size
from results.metrics import Metric


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (0, "0"), (512, "512"), (999.4, "999"), (1500, "1.50 k"), (198_123, "198 k"), (999_600, "1.00 M"),
        (35_700_000, "35.7 M"), (552_810_000, "553 M"), (1.2e9, "1.20 B"), (math.nan, NOTHING),
    ],
)  # fmt: skip
def test_a_count_has_three_digits_and_a_unit(parameters: float, text: str) -> None:
    assert count(parameters) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.0, "0 s"), (0.04, "0.0 s"), (0.42, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"),
        (45, "45 s"), (52.3, "52 s"), (59.4, "59 s"), (59.7, "1 m 00 s"), (111.6, "1 m 52 s"), (125, "2 m 05 s"),
        (3599.4, "59 m 59 s"), (3599.6, "1 h 00 m"), (3600 * 2 + 300, "2 h 05 m"), (11400, "3 h 10 m"),
        (3600 * 100, "100 h 00 m"), (math.nan, NOTHING),
    ],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("in_bytes", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1536, "1.5 kB"), (999_940, "999.9 kB"), (999_960, "1.0 MB"),
        (2_000_000, "2.0 MB"),
        (3_210_000_000, "3.2 GB"), (4.5e12, "4.5 TB"), (4.5e15, "4500.0 TB"),
    ],
)  # fmt: skip
def test_a_size_has_the_unit_that_fits(in_bytes: float, text: str) -> None:
    assert size(in_bytes) == text


def test_a_number_has_its_metrics_decimals_and_a_minus_as_printed() -> None:
    metric = Metric("miou", lower_is_better=False, digits=3)
    assert number(-0.0456, metric) == "−0.046"
    assert number(0.0456, metric) == "0.046"
    assert number(0.0456, metric, sign="+") == "+0.046"
    assert number(-0.0001, metric, sign="+") == "+0.000"  # never a negative zero


def test_a_foreign_text_is_one_line_that_cannot_repaint_a_terminal() -> None:
    assert one_line(" out of\nmemory\x1b[31m ") == "out of memory [31m"


def test_empty_texts_are_not_joined() -> None:
    assert joined("a", "", "b") == "a, b"
    assert joined("", "b", by=" ") == "b"
    assert joined() == ""


def test_formatting_imports_nothing_that_is_slow(root: Path) -> None:
    code = "import sys, results.formatting; print(sorted({'pandas', 'numpy', 'mlflow', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"  # the command's --help has its durations from here
