"""The figures of merit that a study compares its variants by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure of merit: its name in MLflow, its good direction and the decimals that its spread deserves.

    Args:
        features: of a Frechet distance, the length of its features; from as many images or fewer their covariance
            is singular. 0 for what is no Frechet distance.
    """

    name: str
    lower_is_better: bool
    digits: int
    features: int = 0

    @property
    def arrow(self) -> str:
        """An arrow to the good side."""
        return "↓" if self.lower_is_better else "↑"


METRICS = (
    Metric("fid_digits", lower_is_better=True, digits=1, features=64),
    Metric("fid", lower_is_better=True, digits=2, features=2048),
    Metric("kid", lower_is_better=True, digits=4),
    Metric("miou", lower_is_better=False, digits=3),
    Metric("miou_reference", lower_is_better=False, digits=3),
    Metric("pixel_accuracy", lower_is_better=False, digits=3),
    Metric("validation_miou", lower_is_better=False, digits=3),
    Metric("fid_digits_extrapolated", lower_is_better=True, digits=1),
    Metric("fid_extrapolated", lower_is_better=True, digits=2),
)
MAIN_METRICS = METRICS[:4]  # what a table that is read shows; table.csv has them all
REQUESTED_METRICS = METRICS[4:5]  # measured on request only, and then shown too
FRECHET_METRICS = tuple(metric for metric in METRICS if metric.features)
