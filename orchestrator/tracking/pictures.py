"""A finished trial's pictures, drawn by the driver from what the stages stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.store import Store

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SHOWN_SAMPLES = 64
KINDS = ("samples", "denoising", "masks", "loss", "classifier")  # in the order in which a person looks at them


def figures(store: Store, keys: Mapping[str, str]) -> dict[str, Figure]:
    """The pictures that the stages' artefacts allow, by name, of `KINDS`."""
    found = {stage: store.find(stage, key) for stage, key in keys.items()}
    return dict(_drawn({stage: artefact.folder for stage, artefact in found.items() if artefact}))


def save_pictures(figures: Mapping[str, Figure], folder: Path) -> dict[str, Path]:
    """The figures as PNG files in `folder`, by name."""
    if figures:
        folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        figure.savefig(paths[name])
    return paths


def _drawn(folders: Mapping[str, Path]) -> Iterator[tuple[str, Figure]]:
    import numpy as np

    from results import image_grids, plots

    if "samples" in folders:
        samples = np.load(folders["samples"] / "samples.npy", mmap_mode="r")
        yield "samples", image_grids.sample_grid(_channels_last(samples[0, :SHOWN_SAMPLES]))
        if (folders["samples"] / "denoising.npz").exists():
            strip = np.load(folders["samples"] / "denoising.npz")
            yield "denoising", image_grids.denoising_strip(_channels_last(strip["frames"]), strip["timesteps"].tolist())
    if "segmentation" in folders:
        masks = np.load(folders["segmentation"] / "masks.npz")
        yield (
            "masks",
            image_grids.masks(
                _channels_last(masks["images"]),
                masks["truth"],
                masks["predicted"],
                masks["class_names"].tolist(),
                int(masks["ignore_index"]),
                masks["disagreement"],
            ),
        )
        points = _history(folders["segmentation"])
        steps, losses, validation = points["step"], points["classifier_loss"], points.get("classifier_validation_loss")
        yield "classifier", plots.classifier_curve(steps, losses, validation)
    if "ddpm" in folders and (points := _history(folders["ddpm"])):
        yield "loss", plots.loss_curve(points["step"], points["loss"])


def _history(folder: Path) -> dict[str, list[float]]:
    """What a stage logged, as columns; {} where it logged nothing."""
    points = json.loads((folder / "history.json").read_text())
    names = points[0][1] if points else {}
    return {"step": [step for step, _ in points]} | {n: [m[n] for _, m in points] for n in names} if points else {}


def _channels_last(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.swapaxes(-3, -2).swapaxes(-2, -1)
