"""What a reader is told of the metrics of nearest neighbours."""

from __future__ import annotations

import pandas as pd

from results.markdown import markdown_table
from results.metrics import METRICS, NEIGHBOUR_FIGURES, REQUESTED_METRICS
from tests.results.studies import digits_study, summary_of


def _study(network: str, figures: tuple[str, ...]) -> pd.DataFrame:
    trials = digits_study()
    for i, figure in enumerate(figures):
        trials[f"{figure}_{network}"] = 0.5 + 0.01 * i + 0.001 * trials["fid_digits"]
    trials["samples"] = [300 if variant == "held-out" else 500 for variant in trials["variant"]]
    trials["reference_images"], trials["params.fid.nearest_k"] = 1097, "5"
    return trials


def test_every_such_figure_is_a_metric_of_the_table_where_it_was_measured() -> None:
    for network in ("digits", "inception", "dinov2"):
        trials = _study(network, NEIGHBOUR_FIGURES)
        table = markdown_table(summary_of(trials), trials)
        for figure in NEIGHBOUR_FIGURES:
            assert f"{figure}_{network} {'↓' if figure == 'copies' else '↑'}" in table
    names = {metric.name for metric in REQUESTED_METRICS}
    assert {
        f"{figure}_{network}" for figure in NEIGHBOUR_FIGURES for network in ("digits", "inception", "dinov2")
    } < names
    assert names.isdisjoint(metric.name for metric in METRICS if "extrapolated" in metric.name)


def test_the_network_k_and_the_counts_are_told() -> None:
    trials = _study("digits", NEIGHBOUR_FIGURES)
    lines = markdown_table(summary_of(trials), trials).splitlines()
    (line,) = [line for line in lines if line.startswith("Among the features")]
    assert "the small digits' classifier that fid_digits uses" in line
    assert [f"{figure}_digits" in line for figure in NEIGHBOUR_FIGURES] == [True] * 4 + [False]
    assert "k = 5, from 300 or 500 samples and 1097 training images" in line
    assert any(line.startswith("copies_digits: the share of samples") for line in lines)


def test_a_table_without_them_says_nothing_of_them_and_one_with_some_of_those() -> None:
    trials = digits_study()
    assert "Among the features" not in markdown_table(summary_of(trials), trials)
    trials = _study("inception", ("copies",))
    table = markdown_table(summary_of(trials), trials)
    assert "clean-fid's Inception, and not of the VGG-16" in table and "k = " not in table
    trials = _study("digits", NEIGHBOUR_FIGURES[:4])
    assert "copies_digits: the share" not in markdown_table(summary_of(trials), trials)
