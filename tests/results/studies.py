"""Studies made up for the tests of what is drawn from them: rows as MLflow's records give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from results.alpha_spending import TAG, Looks
from results.shown import FILE, Shown, small, small_labels, small_values, thinned
from results.summary import present_metrics, summarise
from results.trials import TRIAL_COLUMNS

STUDY_FILE = """# The study as it was run. Again:
#   python -m orchestrator.run ablations study.yaml
command: ablations
variants:
  convnext: {unet.block: convnext}
"""
EVIL = "<script>alert(1)</script>|[red]&_%"


def trial(variant: str, seed: int, position: int, **more: Any) -> dict[str, Any]:
    blank = dict.fromkeys(TRIAL_COLUMNS, "")
    known = {"variant": variant, "seed": seed, "position": position, "kind": "variant", "status": "FINISHED"}
    cost = {"parameters": 198_123.0, "wall_time_s": 112.0, "fid_digits": np.nan, "miou": np.nan}
    return {**blank, **known, **cost, **more}


def digits_study(seeds: int = 3) -> pd.DataFrame:
    noise = (0.0, 1.0, -1.0, 0.5, -0.5, 0.2)
    rows = []
    for seed in range(seeds):
        e = noise[seed]
        control = {"kind": "control", "fid_digits": 17.0 + 0.1 * e}
        floor = "real held-out images: the floor of FID"
        rows += [
            trial("baseline", seed, 0, delta="-", fid_digits=110 + 2 * e, miou=0.6 + 0.01 * e),
            trial("convnext", seed, 1, delta="unet.block=convnext", fid_digits=100 + 3 * e, miou=0.65 + 0.02 * e),
            trial("cosine", seed, 2, delta="diffusion.beta_schedule=cosine", fid_digits=111 - e, miou=0.6 - 0.01 * e),
            trial("held-out", seed, 3, delta=floor, **control),
        ]
    trials = pd.DataFrame(rows)
    trials.attrs[TAG] = Looks().after(range(seeds), []).as_text()
    return trials


def with_trials(trials: pd.DataFrame, *rows: dict[str, Any]) -> pd.DataFrame:
    more = pd.concat([trials, pd.DataFrame(rows)], ignore_index=True)
    more.attrs = trials.attrs
    return more


def summary_of(trials: pd.DataFrame) -> pd.DataFrame:
    return summarise(trials, present_metrics(trials))


def paper_study(samples: float = 500) -> pd.DataFrame:
    """The paper's study, in which the cosine schedule's FID at infinity is below the baseline's."""
    cost = {"baseline": 8.0, "convnext": 8.0, "cosine": 12.0, "held-out": 2.0}
    trials = digits_study()
    trials["samples"] = samples
    for name, scale in (("fid", 0.5), ("fid_digits", 1.0)):
        trials[name] = trials["fid_digits"] * scale
        bias = trials["variant"].map(cost) * scale * 500 / samples
        trials[f"{name}_half"], trials[f"{name}_extrapolated"] = trials[name] + bias, trials[name] - bias
    trials["kid"] = trials["fid"] / 1000
    trials["published_fid"] = trials["variant"].map({"baseline": 47.081, "cosine": 46.5})
    return trials


def probed_study() -> pd.DataFrame:
    """A segmentation study with the IoU of two classes and four probes, of which one failed."""
    iou = {"baseline": (0.5, 0.25), "convnext": (0.75, np.nan), "cosine": (0.5, 0.125), "held-out": (0.875, 0.0)}
    trials = digits_study(seeds=2)
    for i, name in enumerate(("cat", EVIL)):
        trials[f"iou/{name}"] = [iou[variant][i] for variant in trials["variant"]]
    probes = [
        trial(f"block{block}-t{t}", 0, 9, kind="probe", delta="-", miou=block / 10 + t / 1000)
        | {"params.segmentation.blocks": f"[{block}]", "params.segmentation.timesteps": f"[{t}]"}
        for block in (5, 6)
        for t in (50, 150)
    ]
    probes[-1] |= {"status": "FAILED", "error": "MemoryError", "miou": np.nan}
    return with_trials(trials, *probes)


def large_study(variants: int, seeds: int) -> pd.DataFrame:
    """A study of variants with a name each, the baseline among them, all of whose trials finished."""
    draw = np.random.default_rng(0)
    rows = []
    for position in range(variants):
        name = f"variant-{position}" if position else "baseline"
        for seed in range(seeds):
            figures = {"fid_digits": draw.normal(100, 5), "miou": draw.normal(0.6, 0.02), "gpu_s": 0.0}
            settings = {f"params.section.setting_{i}": str(i) for i in range(80)}
            delta = f"unet.setting={position}" if position else "-"
            rows.append(trial(name, seed, position, delta=delta, **figures, **settings))
    return pd.DataFrame(rows)


def shown_trial(side: int = 16, channels: int = 1, seed: int = 0, steps: int = 500) -> Shown:
    """What a page shows of a trial, of noise: pictures of the most bytes that there can be."""
    draw = np.random.default_rng(seed)
    truth = np.random.default_rng(1).integers(0, 3, (8, side, side))
    steps_and_loss = np.arange(1, steps + 1), np.exp(-np.arange(steps) / 100) + 0.01 * draw.random(steps)
    return Shown(
        samples=small(draw.integers(0, 256, (12, side, side, channels), dtype=np.uint8)),
        way=small(draw.integers(0, 256, (5, side, side, channels), dtype=np.uint8)),
        timesteps=np.array([999, 500, 100, 10, -1]),
        images=small(np.random.default_rng(1).integers(0, 256, (8, side, side, channels), dtype=np.uint8)),
        truth=small_labels(truth),
        predicted=small_labels(np.where(draw.random(truth.shape) < 0.2, 0, truth)),
        disagreement=small_values(draw.random(truth.shape)),
        class_names=np.array(["background", "cat", EVIL]),
        ignore_index=np.array(255),
        loss=thinned(*steps_and_loss),
        classifier=thinned(np.arange(1, 11), 1 / np.arange(1.0, 11), 2 / np.arange(1.0, 11)),
    )


def save_shown(folder: Path, variant: str, seed: int, shown: Shown) -> None:
    """Leaves it where the driver does."""
    path = folder / "pictures" / f"{variant}-seed{seed}" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    shown.save(path)


def picture(path: Path) -> Path:
    """A picture's file, of one colour."""
    Image.new("RGB", (8, 6), "red").save(path)
    return path
