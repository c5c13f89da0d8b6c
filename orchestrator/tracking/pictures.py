"""A finished trial's pictures, drawn by the driver from what the stages stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.store import Store

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from results.shown import Shown

SHOWN_SAMPLES = 64
# In the order in which a person looks at them.
KINDS = ("samples", "denoising", "copies", "masks", "loss", "classifier")


def figures(store: Store, keys: Mapping[str, str]) -> dict[str, Figure]:
    """The pictures that the stages' artefacts allow, by name, of `KINDS`."""
    return dict(_drawn(_folders(store, keys)))


def shown(store: Store, keys: Mapping[str, str]) -> Shown:
    """What the study's page shows of the trial, from the same artefacts."""
    import numpy as np

    from results import shown as page

    folders, arrays = _folders(store, keys), dict[str, "NDArray[np.generic]"]()
    if "samples" in folders:
        samples = np.load(folders["samples"] / "samples.npy", mmap_mode="r")
        arrays["samples"] = page.small(_channels_last(samples[0, : page.SAMPLES]))
        if (folders["samples"] / "denoising.npz").exists():
            strip = np.load(folders["samples"] / "denoising.npz")
            frames = page.shown_frames(len(strip["timesteps"]))
            arrays["way"] = page.small(_channels_last(strip["frames"][frames, 0]))
            arrays["timesteps"] = strip["timesteps"][frames]
    if near := _near(folders):
        arrays["copies"], arrays["nearest"] = (
            page.small(_channels_last(near[name])) for name in ("samples", "nearest")
        )
        arrays["ratio"] = near["ratio"]
    if "segmentation" in folders:
        masks = np.load(folders["segmentation"] / "masks.npz")
        arrays["images"] = page.small(_channels_last(masks["images"][: page.MASKS]))
        arrays |= {name: page.small_labels(masks[name][: page.MASKS]) for name in ("truth", "predicted")}
        arrays["disagreement"] = page.small_values(masks["disagreement"][: page.MASKS])
        arrays |= {name: masks[name] for name in ("class_names", "ignore_index")}
        if points := _history(folders["segmentation"]):
            none = [float("nan")] * len(points["step"])
            losses = points["classifier_loss"], points.get("classifier_validation_loss", none)
            arrays["classifier"] = page.thinned(points["step"], *losses)
    if "ddpm" in folders and (points := _history(folders["ddpm"])):
        arrays["loss"] = page.thinned(points["step"], points["loss"])
    return page.Shown(**arrays)


def save_pictures(figures: Mapping[str, Figure], folder: Path) -> dict[str, Path]:
    """The figures as PNG files in `folder`, by name."""
    if figures:
        folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        figure.savefig(paths[name])
    return paths


def _folders(store: Store, keys: Mapping[str, str]) -> dict[str, Path]:
    found = {stage: store.find(stage, key) for stage, key in keys.items()}
    return {stage: artefact.folder for stage, artefact in found.items() if artefact}


def _near(folders: Mapping[str, Path]) -> Mapping[str, NDArray[Any]] | None:
    """The samples that are most like copies of training images; None where no metric looked for them."""
    import numpy as np

    path = folders["fid"] / "nearest.npz" if "fid" in folders else None
    return dict(np.load(path)) if path and path.exists() else None


def _drawn(folders: Mapping[str, Path]) -> Iterator[tuple[str, Figure]]:
    import numpy as np

    from results import image_grids, plots

    if "samples" in folders:
        samples = np.load(folders["samples"] / "samples.npy", mmap_mode="r")
        yield "samples", image_grids.sample_grid(_channels_last(samples[0, :SHOWN_SAMPLES]))
        if (folders["samples"] / "denoising.npz").exists():
            strip = np.load(folders["samples"] / "denoising.npz")
            yield "denoising", image_grids.denoising_strip(_channels_last(strip["frames"]), strip["timesteps"].tolist())
    if near := _near(folders):
        samples, nearest = _channels_last(near["samples"]), _channels_last(near["nearest"])
        yield "copies", image_grids.copies(samples, nearest, near["ratio"].tolist())
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
