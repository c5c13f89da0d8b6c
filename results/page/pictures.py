"""The pictures of a study: samples of all variants from the same noise, masks beside the truth of the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from results.image_grids import differences, heat, palette
from results.page.elements import escaped, folded, note, section
from results.page.encoding import image, strip
from results.page.loss_curves import Seeds
from results.shown import Array, Images, Shown

BUDGET = 3_500_000  # bytes of all pictures as they stand in the page
_IGNORED = (146, 146, 146)
_OTHER_SAMPLES, _OTHER_MASKS = 8, 6  # of a seed behind the first

Row = tuple[str, str]  # its label, and its image as HTML
AtSeed = Mapping[str, Shown | None]  # variant -> what is shown of it at one seed


@dataclass
class Budget:
    """The bytes that are left for pictures, and what found none."""

    left: int = BUDGET
    left_out: list[str] = field(default_factory=list)

    def strips(self, rows: Iterable[Row], what: str, whole: bool = False) -> str:
        """The rows that fit, as HTML; once one does not, nothing that follows is drawn.

        Args:
            rows: are drawn as they are asked for.
            what: they are, for the line that says what was left out.
            whole: whether they stand all or not at all.
        """
        fit: list[Row] = []
        if not self.left:
            self.left_out.append(what)
            return ""
        for label, content in rows:
            if len(content) > self.left:
                self.left = 0
                self.left_out.append(f"{what} from {label} on" if fit and label and not whole else what)
                return "" if whole else _strips(fit)
            self.left -= len(content)
            fit.append((label, content))
        return _strips(fit)


def pictures(shown: Mapping[str, Seeds], folder: str, budget: Budget | None = None) -> str:
    """The sections of samples and of masks: the first seed in full, the others folded away as far as there is room.

    Args:
        shown: variant -> seed -> what is shown of it, in the table's order.
        folder: where all pictures lie, for the line that says what was left out.
        budget: what there is room for.
    """
    budget, seeds = budget or Budget(), sorted({seed for of_variant in shown.values() for seed in of_variant})
    if not seeds:
        return ""
    first, at = seeds[0], {seed: {name: found.get(seed) for name, found in shown.items()} for seed in seeds}
    samples = budget.strips(_samples(at[first], 12), f"samples, seed {first}")
    masks = budget.strips(_masks(at[first], 8), f"masks, seed {first}")
    ways = budget.strips(_ways(at[first]), f"from noise to image, seed {first}")
    copies = budget.strips(_copies(at[first]), f"samples most like copies, seed {first}")
    wrong = budget.strips(_wrong(at[first]), f"where masks are wrong, seed {first}")
    more_samples, more_masks = list[str](), list[str]()
    for seed in seeds[1:]:
        of_seed = budget.strips(_samples(at[seed], _OTHER_SAMPLES), f"samples, seed {seed}", whole=True)
        more_samples.append(folded(f"Seed {seed}", of_seed))
        of_seed = budget.strips(_masks(at[seed], _OTHER_MASKS), f"masks, seed {seed}", whole=True)
        more_masks.append(folded(f"Seed {seed}", of_seed))
    about = f"Seed {first}. In each column all variants begin from the same noise; real images from none."
    legend = [_swatches(shown), note(f"Seed {first}: the same held-out images for all variants.")] if masks else []
    wrong = folded("Where masks are wrong, and how far the ensemble's members disagree", wrong, wrong and _reading())
    left_out = f"Left out, for the page's size: {'; '.join(budget.left_out)}. All pictures lie in {folder}."
    parts = [
        section(
            "Samples",
            samples,
            samples and note(about),
            folded("From noise to image", ways),
            folded("The samples that are most like a training image", copies, copies and _near()),
            *more_samples,
        ),
        section("Segmentation masks", masks, *legend, wrong, *more_masks),
        note(left_out) if budget.left_out else "",
    ]
    return "\n".join(filter(None, parts))


def _strips(rows: list[Row]) -> str:
    cells = "".join(f"<span>{escaped(label)}</span>{content}" for label, content in rows)
    return f'<div class="strips">{cells}</div>' if rows else ""


def _samples(shown: AtSeed, count: int) -> Iterator[Row]:
    for variant, of_trial in shown.items():
        if of_trial and of_trial.samples is not None:
            tiles = _uint8(of_trial.samples[:count])
            yield variant, image(strip(tiles), f"{variant}: {len(tiles)} samples")


def _ways(shown: AtSeed) -> Iterator[Row]:
    for variant, of_trial in shown.items():
        if of_trial and of_trial.way is not None and of_trial.timesteps is not None:
            named = ", ".join("the image" if t < 0 else f"t = {t}" for t in of_trial.timesteps)
            yield variant, image(strip(_uint8(of_trial.way)), f"{variant}: an image from noise to its end, {named}")


def _copies(shown: AtSeed) -> Iterator[Row]:
    """The samples, and below each the training image that is nearest to it."""
    for variant, of_trial in shown.items():
        if of_trial and of_trial.copies is not None and of_trial.nearest is not None and of_trial.ratio is not None:
            ratios = ", ".join(f"{ratio:.2f}" for ratio in of_trial.ratio.astype(np.float64))
            yield variant, image(strip(_uint8(of_trial.copies)), f"{variant}: the samples most like copies, {ratios}")
            yield "", image(strip(_uint8(of_trial.nearest)), f"{variant}: the training image nearest to each")


def _near() -> str:
    return note(
        "Above the samples, below the training image nearest to each, the likest pair first. A copy is at less than a "
        "third of the distance to the second nearest; the ratios are in the pictures' texts."
    )


def _masks(shown: AtSeed, count: int) -> Iterator[Row]:
    """Image and truth, then what each variant predicts; both anew where a variant has others."""
    above: Shown | None = None
    for variant, of_trial in shown.items():
        if not of_trial or of_trial.predicted is None or of_trial.images is None or of_trial.truth is None:
            continue
        if above is None or not _alike(above, of_trial):
            above = of_trial
            images, truth = _uint8(of_trial.images[:count]), _painted(of_trial, of_trial.truth[:count])
            yield "image", image(strip(images), f"{len(images)} held-out images")
            yield "truth", image(strip(truth), f"the true masks of {', '.join(_names(of_trial))}")
        yield variant, image(strip(_painted(of_trial, of_trial.predicted[:count])), f"{variant}: the predicted masks")


def _wrong(shown: AtSeed) -> Iterator[Row]:
    for variant, of_trial in shown.items():
        if not of_trial or of_trial.predicted is None or of_trial.images is None or of_trial.truth is None:
            continue
        dark = np.broadcast_to(of_trial.images, (*of_trial.images.shape[:3], 3)).astype(np.uint8)
        red = differences(dark, _labels(of_trial.truth), _labels(of_trial.predicted), _ignored(of_trial))
        yield variant, image(strip(red), f"{variant}: the images, red where the mask is wrong")
        if of_trial.disagreement is not None:
            hot = heat(of_trial.disagreement.astype(np.float32))
            yield "", image(strip(hot), f"{variant}: the disagreement of the ensemble's members")


def _reading() -> str:
    return note(
        "Above, red: not the truth. Below, how far the members disagree: black not at all, white ln 2 and more."
    )


def _alike(one: Shown, other: Shown) -> bool:
    pairs = ((one.images, other.images), (one.truth, other.truth))
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)


def _painted(shown: Shown, labels: Array) -> Images:
    known, ignored = _labels(labels), _labels(labels) == _ignored(shown)
    colours = palette(len(_names(shown)))[np.where(ignored, 0, known)]
    return np.where(ignored[..., None], np.array(_IGNORED, dtype=np.uint8), colours)


def _labels(labels: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return labels.astype(np.int64)


def _uint8(images: Array) -> Images:
    return images.astype(np.uint8)


def _ignored(shown: Shown) -> int:
    return 255 if shown.ignore_index is None else int(shown.ignore_index)


def _names(shown: Shown) -> list[str]:
    return [] if shown.class_names is None else [str(name) for name in shown.class_names]


def _swatches(shown: Mapping[str, Seeds]) -> str:
    """The colours of the classes."""
    every = (one for seeds in shown.values() for one in seeds.values() if one.predicted is not None)
    names = _names(next(every))
    colours = ["#" + bytes(colour.tolist()).hex() for colour in palette(len(names))]
    pairs = [*zip(names, colours, strict=True), ("ignored", "#" + bytes(_IGNORED).hex())]
    items = "".join(f'<span><i style="background:{colour}"></i>{escaped(name)}</span>' for name, colour in pairs)
    return f'<div class="swatches">{items}</div>'
