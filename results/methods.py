"""How a study was done, in the sentences of a paper's section on methods, from its records alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pandas as pd

from results.alpha_spending import CLAIMS_FROM, TAG, from_text
from results.formatting import counted, duration, joined, one_line
from results.metrics import METRICS, Metric
from results.trials import BASELINE, CONTROL, FINISHED, PROBE, UNTESTED

# How intervals, corrections and verdicts are made: one text, so that it changes with the procedure.
STATISTICS = (
    "Differences from the baseline are means over the seeds that both have; Frechet distances are compared by their "
    "logarithms. Variances are moderated towards the common one of the variants, with Satterthwaite's degrees of "
    "freedom. Intervals, p values and verdicts are one procedure, corrected by Sidak's method for all variants of a "
    "metric and by spending alpha for all looks at the table, so that at most 5 % of studies without any effect claim "
    "one in a metric's column. A claim is confirmed by the seeds that were planned, supported by others."
)
FEW_SEEDS = f"With fewer than {CLAIMS_FROM} seeds there is no interval, and nothing is claimed."

_FRECHET = (
    "the Frechet distance between Gaussians fitted to {features} features of {samples} samples "
    "and of {real} real images"
)
_CLASSES = "over the classes that occur in the truth of {scored} held-out images"
_DEFINITIONS = {
    "fid_digits": _FRECHET + ", by a fixed classifier of grey digits",
    "fid": _FRECHET + ", by the Inception network of clean-fid",
    "kid": "the kernel distance by clean-fid's definition, of {samples} samples and {real} real images",
    "miou": "the mean intersection over union " + _CLASSES + ", void pixels left out",
    "miou_reference": "the mean intersection over union of {scored} held-out images by ddpm-segmentation's rule",
    "pixel_accuracy": "the share of pixels of {scored} held-out images whose class is predicted",
    "validation_miou": "the mean intersection over union of the images kept for validation",
    "fd_dinov2": _FRECHET + ", by DINOv2's ViT-L/14",
}
_RADIUS = "an image's radius being its distance to neighbour {k} of its set"
_OF_NEIGHBOURS = {
    "precision": "the share of {samples} samples that lie within the radius of one of {real} real images, " + _RADIUS,
    "recall": "the share of {real} real images that lie within the radius of one of {samples} samples, " + _RADIUS,
    "density": "how many of {real} real images' radii each of {samples} samples lies within, over {k}, " + _RADIUS,
    "coverage": "the share of {real} real images within whose radius one of {samples} samples lies, " + _RADIUS,
    "copies": "the share of {samples} samples nearer to one of {real} real images than a third of the way to the next",
}
_NETWORKS = {
    "digits": "a fixed classifier of grey digits",
    "inception": "the Inception network of clean-fid",
    "dinov2": "DINOv2's ViT-L/14",
}
_DEFINITIONS |= {
    f"{figure}_{network}": f"{words}, among the features of {whose}"
    for figure, words in _OF_NEIGHBOURS.items()
    for network, whose in _NETWORKS.items()
}


def methods(trials: pd.DataFrame, metrics: Sequence[Metric]) -> list[str]:
    """The sentences, without what the records do not say.

    Args:
        trials: as `trials.load_trials` gives them.
        metrics: that the table shows.
    """
    rows = trials[trials["kind"] != PROBE]
    if rows.empty:
        return []
    enough = rows.loc[rows["status"] == FINISHED].groupby("variant")["seed"].nunique().max() >= CLAIMS_FROM
    sentences = [*_design(rows), *_training(rows), *_sampling(rows), *_segmentation(rows), *_metrics(trials, metrics)]
    sentences += [STATISTICS, *_looks(trials)] if enough else [FEW_SEEDS]
    return [*sentences, *_unfinished(trials), *_compute(trials), *_versions(trials)]


def _design(rows: pd.DataFrame) -> Iterator[str]:
    compared = rows.loc[~rows["kind"].isin(UNTESTED) & (rows["variant"] != BASELINE), "variant"].nunique()
    seeds = sorted(int(seed) for seed in rows["seed"].unique())
    trained = f"{counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    pairing = (
        "; seed k of every variant begins from the same data order, noise and label split" if len(seeds) > 1 else ""
    )
    were = "was" if compared == 1 else "were"
    yield f"{counted(compared, 'variant')} {were} compared with the baseline on {trained}{pairing}."
    controls = [one_line(name) for name in rows.loc[rows["kind"] == CONTROL, "variant"].unique()]
    if controls:
        yield f"The {'control was' if len(controls) == 1 else 'controls were'} {_and(controls)}."


def _training(rows: pd.DataFrame) -> Iterator[str]:
    dataset, side = _setting(rows, "data.dataset"), _setting(rows, "data.image_size")
    steps, batch = _setting(rows, "training.train_steps"), _setting(rows, "training.batch_size")
    if dataset and side:
        yield f"The data were {dataset} at {side}x{side} pixels."
    if steps and batch and _setting(rows, "pretrained") in ("", "None"):
        rate = _setting(rows, "training.learning_rate")
        timesteps, schedule = _setting(rows, "diffusion.timesteps"), _setting(rows, "diffusion.beta_schedule")
        yield (
            f"The baseline was trained for {steps} steps of {batch} images at a learning rate of {rate}, with "
            f"T = {timesteps} and the {schedule} schedule; each variant differs from it in what the table says."
        )


def _sampling(rows: pd.DataFrame) -> Iterator[str]:
    sampler, steps = _setting(rows, "sampling.sampler"), _setting(rows, "sampling.sampling_steps")
    repeats, samples = _setting(rows, "sampling.sampling_repeats"), _setting(rows, "sampling.samples")
    if sampler and "samples" in rows and rows["samples"].notna().any():
        sets = f"{repeats} sets of {samples}" if repeats != "1" else samples
        mean = "; figures are means over the sets of one model" if repeats != "1" else ""
        yield f"From each model {sets} images were sampled by {sampler} in {steps} steps{mean}."


def _segmentation(rows: pd.DataFrame) -> Iterator[str]:
    if "miou" not in rows or not rows["miou"].notna().any():
        return
    members, labels = _setting(rows, "segmentation.ensemble_size"), _setting(rows, "segmentation.label_images")
    blocks, timesteps = _setting(rows, "segmentation.blocks"), _setting(rows, "segmentation.timesteps")
    if members and labels:
        yield (
            f"An ensemble of {members} pixel classifiers was trained on features of {labels} labelled images, from the "
            f"blocks {_list(blocks)} at t = {_list(timesteps)}."
        )


def _metrics(trials: pd.DataFrame, metrics: Sequence[Metric]) -> Iterator[str]:
    own = trials[~trials["kind"].isin(UNTESTED) & (trials["status"] == FINISHED)]
    counts = {"samples": "samples", "real": "reference_images", "scored": "scored_images", "k": "params.fid.nearest_k"}
    told = {name: _range(own, column) for name, column in counts.items()}
    for metric in metrics:
        way = "lower" if metric.lower_is_better else "higher"
        definition = _DEFINITIONS.get(metric.name, "" if metric in METRICS else "a metric of the study's own")
        if definition:
            yield f"{metric.name} is {definition.format(features=metric.features, **told)}; {way} is better."


def _looks(trials: pd.DataFrame) -> Iterator[str]:
    """What was planned before there were results, and how often more was asked for."""
    looks = from_text(trials.attrs.get(TAG, ""))
    if looks.planned:
        yield f"{counted(len(looks.seeds[0]), 'seed')} were planned before there were results."
    if further := len(looks.seeds) - looks.planned:
        yield f"The table was looked at {counted(further, 'time')} with more seeds than planned."


def _unfinished(trials: pd.DataFrame) -> Iterator[str]:
    lost = int((trials["status"] != FINISHED).sum())
    if lost:
        yield f"{lost} of {len(trials)} trials did not finish and are in no mean."


def _compute(trials: pd.DataFrame) -> Iterator[str]:
    done = trials[trials["status"] == FINISHED]
    machines = [one_line(machine) for machine in done["machine"].unique() if machine]
    seconds = float(done["wall_time_s"].sum()) if "wall_time_s" in done else 0.0
    gpu_s = float(done["gpu_s"].sum()) if "gpu_s" in done else 0.0
    if seconds > 0:
        gpu = f", {duration(gpu_s)} of them on GPUs" if gpu_s > 0 else ""
        yield f"All finished trials took {duration(seconds)}{gpu}{f' ({_and(machines)})' if machines else ''}."


def _versions(trials: pd.DataFrame) -> Iterator[str]:
    done = trials[trials["status"] == FINISHED]
    made = [one_line(way) for way in done["made_with"].unique() if way]
    commits = [str(commit)[:12] for commit in trials["git_commit"].unique() if commit]
    changed = " with changes that are not committed" if trials["git_dirty"].isin(["true", "True", "1"]).any() else ""
    if made:
        yield f"Made with {'; or '.join(made)}."
    if commits:
        yield f"The code is diffusion-ablations at commit {_and(commits)}{changed}."


def _setting(rows: pd.DataFrame, name: str) -> str:
    """The baseline's setting as MLflow keeps it; "" where there is none."""
    column = f"params.{name}"
    own = rows.loc[rows["variant"] == BASELINE, column] if column in rows else pd.Series(dtype=object)
    return "" if own.empty or pd.isna(own.iloc[0]) else one_line(str(own.iloc[0]))


def _list(text: str) -> str:
    """'5, 6, 7' for a setting such as [5, 6, 7]."""
    try:
        return ", ".join(str(value) for value in json.loads(text))
    except (ValueError, TypeError):
        return text


def _range(rows: pd.DataFrame, column: str) -> str:
    """'64', or '64 to 500' where the trials differ; 'some' where no trial says."""
    values = pd.to_numeric(rows[column]).dropna() if column in rows else pd.Series(dtype=float)
    ends = [f"{end:.0f}" for end in (values.min(), values.max())] if len(values) else ["some"]
    return joined(*dict.fromkeys(ends), by=" to ")


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
