"""Plots as drawn: their lines are the figures that were given, and their texts can be read."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from results.plots import classifier_curve, heat_map, loss_curve
from tests.results.drawn import pixels_of


def test_a_loss_curve_draws_the_record_and_a_mean_that_does_not_lag() -> None:
    steps = np.arange(200)
    (axes,) = loss_curve(steps, np.exp(-steps / 400), smooth=0.05).axes
    record, smoothed = (np.asarray(line.get_ydata()) for line in axes.lines)
    assert np.array_equal(record, np.exp(-steps / 400))
    assert smoothed[20:-20] == pytest.approx(record[20:-20], rel=5e-3)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("training step", "loss", "log")


def test_a_loss_curve_without_smoothing_or_with_negative_values_or_gaps() -> None:
    (axes,) = loss_curve([0, 1, 2, 3], [1.0, np.nan, np.inf, -1.0], smooth=0).axes
    (line,) = axes.lines
    assert np.asarray(line.get_xydata()).tolist() == [[0, 1], [3, -1]]
    assert axes.get_yscale() == "linear"
    with pytest.raises(ValueError, match="smooth"):
        loss_curve([0], [1.0], smooth=1.0)


def test_a_classifiers_curve_draws_both_losses_as_they_are() -> None:
    (axes,) = classifier_curve([10, 20, 30], [1.0, 0.5, 0.25], [1.2, 0.8, 0.9]).axes
    lines = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert lines == {
        "training": [[10, 1.0], [20, 0.5], [30, 0.25]],
        "validation": [[10, 1.2], [20, 0.8], [30, 0.9]],
    }
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("training step", "loss", "log")
    assert axes.get_legend() is not None


def test_a_classifiers_curve_without_validation_or_with_a_zero() -> None:
    (axes,) = classifier_curve([1, 2], [0.5, 0.0]).axes
    assert [line.get_label() for line in axes.lines] == ["training"]
    assert axes.get_yscale() == "linear"
    (axes,) = classifier_curve([1, 2], [0.5, 0.1], [0.5, 0.0]).axes
    assert axes.get_yscale() == "linear"


CELLS = pd.DataFrame([[0.1, 0.25, math.nan], [0.3, 0.8126, 0.5]], index=[5, 12], columns=[50, 150, 800])


def test_a_heat_map_has_each_cells_figure_in_its_place() -> None:
    axes = heat_map(CELLS).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {
        **{(0, 0): "0.100", (1, 0): "0.250", (2, 0): "–"},
        **{(0, 1): "0.300", (1, 1): "0.813", (2, 1): "0.500"},
    }
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["50", "150", "800"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["5", "12"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first row, the coarsest block, is the uppermost
    assert "mIoU" in axes.get_title()


def test_a_heat_maps_figures_stand_out_from_their_cells() -> None:
    for cells in (CELLS, CELLS.iloc[:1, :1], pd.DataFrame(np.linspace(0, 1, 24).reshape(4, 6))):
        figure = heat_map(cells)
        axes, pixels = figure.axes[0], pixels_of(figure)
        for text in axes.texts:
            column, row = text.get_position()
            x, y = axes.transData.transform((column - 0.4, row - 0.4))
            cell = pixels[pixels.shape[0] - 1 - round(y), round(x)] / 255
            luminance = ((cell + 0.055) / 1.055) ** 2.4 @ (0.2126, 0.7152, 0.0722)
            contrast = (luminance + 0.05) / 0.05 if text.get_color() == "black" else 1.05 / (luminance + 0.05)
            assert contrast > 4.5  # what WCAG asks for


def test_a_heat_map_fits_in_its_figure_and_notes_the_baseline() -> None:
    for cells in (CELLS, CELLS.iloc[:1, :1]):
        figure = heat_map(cells, 0.61249)
        pixels_of(figure)
        assert "0.612" in figure.get_supxlabel()
        for box in (axes.get_tightbbox() for axes in figure.axes):
            assert box is not None
            assert 0 <= box.x0 < box.x1 <= figure.bbox.width
            assert 0 <= box.y0 < box.y1 <= figure.bbox.height


@pytest.mark.parametrize("reference", [None, math.nan])
def test_a_heat_map_of_a_baseline_without_a_figure_notes_none(reference: float | None) -> None:
    assert heat_map(CELLS, reference).get_supxlabel() == ""


def test_a_heat_map_without_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="must have cells"):
        heat_map(pd.DataFrame())
