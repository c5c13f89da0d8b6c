"""What a variant's one mean hides: the mIoU by block and timestep, the IoU by class, the FID by number of samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from results.metrics import FRECHET_METRICS
from results.summary import variants
from results.trials import FINISHED, PROBE, UNTESTED

_IOU = "iou/"  # before a class's name


def miou_by_block_and_timestep(trials: pd.DataFrame) -> pd.DataFrame:
    """The mIoU of each block at each timestep alone: a row a block, a column a timestep, both rising.

    A cell is the mean over the seeds of its finished probes, NaN where none has finished; empty without probes.

    Args:
        trials: as `trials.load_trials` gives them.
    """
    settings = {"block": "params.segmentation.blocks", "timestep": "params.segmentation.timesteps"}
    probes = trials[(trials["kind"] == PROBE) & (trials["status"] == FINISHED)]
    probes = probes.reindex(columns=[*settings.values(), "miou"])
    cells = {name: [_only(text) for text in probes[setting]] for name, setting in settings.items()}
    measured = pd.DataFrame({**cells, "miou": probes["miou"].to_numpy(dtype=np.float64)})
    means: pd.DataFrame = measured.pivot_table(index="block", columns="timestep", values="miou", aggfunc="mean")
    return means


def _only(text: str) -> int:
    """The one number in a setting such as "[6]"."""
    (number,) = json.loads(text)
    return int(number)


def iou_by_class(trials: pd.DataFrame) -> pd.DataFrame:
    """The IoU of each class, mean over the seeds of the finished trials: a row a variant, a column a class.

    The rows are in the order of `summary.variants`; probes and those without any IoU are left out. NaN: the class
    does not occur in the truth.

    Args:
        trials: as `trials.load_trials` gives them.
    """
    return _means(trials, [name for name in trials.columns if name.startswith(_IOU)]).rename(
        columns=lambda name: name.removeprefix(_IOU)
    )


def fid_by_samples(trials: pd.DataFrame) -> pd.DataFrame:
    """The Frechet distances by number of samples, mean over the seeds of the finished trials: a row a variant.

    Columns: `samples`, then of each distance that there is `<metric>_half` (from half the samples), `<metric>` and
    `<metric>_extrapolated` (to infinitely many). The rows are in the order of `summary.variants`; those without any are
    left out.

    Args:
        trials: as `trials.load_trials` gives them.
    """
    present = [metric.name for metric in FRECHET_METRICS if f"{metric.name}_extrapolated" in trials]
    names = [f"{name}{suffix}" for name in present for suffix in ("_half", "", "_extrapolated")]
    return _means(trials, ["samples", *names] if names else [])


def _means(trials: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The means of some metrics over the finished trials of each variant, without what has no value at all."""
    listed = variants(trials).query("kind != @PROBE")["variant"]
    finished = trials.loc[trials["status"] == FINISHED, ["variant", *names]]
    means = finished.groupby("variant").mean().reindex(listed)
    return means.dropna(how="all").dropna(axis="columns", how="all")


def ranking_flips(summary: pd.DataFrame, metric: str) -> list[tuple[str, str]]:
    """The pairs of variants that change places where a Frechet distance is extrapolated to infinitely many samples.

    Their order by mean of `metric` is opposite to that by mean of `<metric>_extrapolated`: which of the two is
    better depends on the number of samples. Controls and probes are not compared.

    Args:
        summary: as `summary.summarise` gives it.
        metric: a metric's name.

    Source: Chong & Forsyth 2020 (arXiv:1911.07023): FID is biased at finite N, by an amount that depends on the model.
    """
    compared = summary[~summary["kind"].isin(UNTESTED)]
    at_n, extrapolated = (
        compared[compared["metric"] == name].set_index("variant")["mean"] for name in (metric, f"{metric}_extrapolated")
    )
    both = [variant for variant in at_n.index if variant in extrapolated.index]
    return [(a, b) for a, b in combinations(both, 2) if (at_n[a] - at_n[b]) * (extrapolated[a] - extrapolated[b]) < 0]
