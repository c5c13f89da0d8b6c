"""What the metrics of nearest neighbours rest on, in words: the network, k, and how many images of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from results.metrics import NEIGHBOUR_FIGURES, Metric
from results.trials import FINISHED

NETWORKS = {
    "digits": "the small digits' classifier that fid_digits uses",
    "inception": "clean-fid's Inception, and not of the VGG-16 of the paper on precision and recall",
    "dinov2": "DINOv2's ViT-L/14",
}
_K = "params.fid.nearest_k"


def feature_spaces(metrics: Sequence[Metric], trials: pd.DataFrame) -> Iterator[str]:
    """A line for each network among whose features the shown metrics look for neighbours.

    Args:
        metrics: that the table shows.
        trials: as `trials.load_trials` gives them.
    """
    shown = {metric.name for metric in metrics}
    done = trials[trials["status"] == FINISHED]
    counts = f"from {_several(done, 'samples')} samples and {_several(done, 'reference_images')} training images"
    for network, words in NETWORKS.items():
        names = [f"{figure}_{network}" for figure in NEIGHBOUR_FIGURES if f"{figure}_{network}" in shown]
        of_k = [name for name in names if not name.startswith("copies")]
        if of_k:
            counted = f"k = {_several(done, _K)}, {counts}"
            yield f"among the features of {words}: {', '.join(of_k)}; {counted}: they depend on all of these"
        if len(names) > len(of_k):
            yield (
                f"copies_{network}: the share of samples that are nearer to one training image than a third of the "
                f"distance to the second nearest, among the features of {words}, {counts}"
            )


def _several(done: pd.DataFrame, column: str) -> str:
    """'300 or 500': the values that occur; '?' where none was recorded."""
    if column not in done or done[column].isna().all():
        return "?"
    return " or ".join(f"{value:g}" for value in sorted(done[column].dropna().astype(float).unique()))
