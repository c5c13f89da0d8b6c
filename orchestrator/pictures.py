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
KINDS = ("samples", "denoising", "masks", "loss")  # in the order in which a person looks at them


def figures(store: Store, keys: Mapping[str, str]) -> dict[str, Figure]:
    """The pictures that the stages' artefacts allow, by name: samples, denoising, masks, loss."""
    found = {stage: store.find(stage, key) for stage, key in keys.items()}
    return dict(_drawn({stage: artefact.folder for stage, artefact in found.items() if artefact}))


def _drawn(folders: Mapping[str, Path]) -> Iterator[tuple[str, Figure]]:
    import numpy as np

    from results import figures

    if "samples" in folders:
        samples = np.load(folders["samples"] / "samples.npy", mmap_mode="r")
        yield "samples", figures.sample_grid(_channels_last(samples[0, :SHOWN_SAMPLES]))
        if (folders["samples"] / "denoising.npz").exists():
            strip = np.load(folders["samples"] / "denoising.npz")
            yield "denoising", figures.denoising_strip(_channels_last(strip["frames"]), strip["timesteps"].tolist())
    if "segmentation" in folders:
        masks = np.load(folders["segmentation"] / "masks.npz")
        yield (
            "masks",
            figures.masks(
                _channels_last(masks["images"]),
                masks["truth"],
                masks["predicted"],
                masks["class_names"].tolist(),
                int(masks["ignore_index"]),
            ),
        )
    if "ddpm" in folders and (points := json.loads((folders["ddpm"] / "history.json").read_text())):
        yield "loss", figures.loss_curve([step for step, _ in points], [metrics["loss"] for _, metrics in points])


def _channels_last(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.swapaxes(-3, -2).swapaxes(-2, -1)
