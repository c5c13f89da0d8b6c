"""Scales and their ticks."""

from __future__ import annotations

import pytest

from results.page.svg import Scale, shortened, tick_label


def test_a_scale_goes_from_end_to_end() -> None:
    assert [Scale(-1, 3, 10, 50)(v) for v in (-1, 0, 3)] == [10, 20, 50]
    assert [Scale(0.01, 100, 200, 0, log=True)(v) for v in (0.01, 1, 100)] == pytest.approx([200, 100, 0])


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        (Scale(-3.2, 11, 0, 1), [0, 5, 10]),
        (Scale(-0.049, 0.101, 0, 1), [0, 0.05, 0.1]),
        (Scale(0.07, 1.02, 0, 1, log=True), [0.1, 0.2, 0.5, 1]),
        (Scale(1e-4, 1e3, 0, 1, log=True), [1e-4, 1e-2, 1, 1e2]),
        (Scale(0.61, 0.64, 0, 1, log=True), [0.61, 0.62, 0.63, 0.64]),
    ],
)
def test_ticks_are_round_and_inside(scale: Scale, wanted: list[float]) -> None:
    ticks = scale.ticks(5)
    assert all(scale.inside(tick) or tick == pytest.approx(scale.low) for tick in ticks)
    assert ticks == pytest.approx(wanted)


def test_labels_of_ticks() -> None:
    assert [tick_label(v, sign=True) for v in (-10, 0, 0.05, 2000, 1e6)] == ["−10", "0", "+0.05", "+2k", "+1000k"]
    assert tick_label(3 * 0.1) == "0.3"
    assert shortened("abcdef", 4) == "abc…"
