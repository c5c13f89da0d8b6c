"""The figures of merit that a study compares its variants by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Metric:
    """A figure of merit: its name in MLflow, its good direction and the decimals that its spread deserves.

    Args:
        features: of a Frechet distance, the length of its features; from as many images or fewer their covariance
            is singular. 0 for what is no Frechet distance.
        log_scale: it is positive and its spread grows with its size, so variants are compared by ratios.
    """

    name: str
    lower_is_better: bool
    digits: int
    features: int = 0
    log_scale: bool = False

    @property
    def arrow(self) -> str:
        """An arrow to the good side."""
        return "↓" if self.lower_is_better else "↑"


NEIGHBOUR_FIGURES = ("precision", "recall", "density", "coverage", "copies")
_ON_REQUEST = (
    Metric("fd_dinov2", lower_is_better=True, digits=1, features=1024, log_scale=True),
    *(
        Metric(f"{figure}_{network}", lower_is_better=figure == "copies", digits=3)
        for network in ("digits", "inception", "dinov2")
        for figure in NEIGHBOUR_FIGURES
    ),
)
METRICS = (
    Metric("fid_digits", lower_is_better=True, digits=1, features=64, log_scale=True),
    Metric("fid", lower_is_better=True, digits=2, features=2048, log_scale=True),
    Metric("kid", lower_is_better=True, digits=4),
    Metric("miou", lower_is_better=False, digits=3),
    Metric("miou_reference", lower_is_better=False, digits=3),
    Metric("pixel_accuracy", lower_is_better=False, digits=3),
    Metric("validation_miou", lower_is_better=False, digits=3),
    Metric("fid_digits_extrapolated", lower_is_better=True, digits=1),
    Metric("fid_extrapolated", lower_is_better=True, digits=2),
    Metric("fd_dinov2_extrapolated", lower_is_better=True, digits=1),
    *_ON_REQUEST,
)


def known(trials: pd.DataFrame) -> tuple[Metric, ...]:
    """Our metrics, then those of the person's own.

    Args:
        trials: as `trials.load_trials` gives them.
    """
    return (*METRICS, *own_metrics(trials))


def own_metrics(trials: pd.DataFrame) -> tuple[Metric, ...]:
    """The metrics of the person's own."""
    directions: dict[str, bool] = trials.attrs.get("higher_is_better", {})
    return tuple(Metric(name, lower_is_better=not higher, digits=3) for name, higher in directions.items())


MAIN_METRICS = METRICS[:4]  # what a table that is read shows; table.csv has them all
REQUESTED_METRICS = (METRICS[4], *_ON_REQUEST)  # measured on request only, and then shown too
FRECHET_METRICS = tuple(metric for metric in METRICS if metric.features)


def read_metrics(names: Collection[str], frame: pd.DataFrame) -> list[Metric]:
    """Of the metrics named, those that are read: what chose the points of a search first; all where none of them is.

    Args:
        names: of the metrics that have figures.
        frame: whose `attrs` say what a search maximised, and which metrics are the person's own.
    """
    chosen_by = [metric for metric in METRICS if metric.name == frame.attrs.get("objective")]
    read = (*chosen_by, *MAIN_METRICS, *REQUESTED_METRICS, *own_metrics(frame))
    return [metric for metric in read if metric.name in names] or [m for m in METRICS if m.name in names]
