"""What a study reads, looked at before anything is started: its data, its checkpoint, its metrics' networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.planning import draft, plan
from orchestrator.planning.settings import Request
from orchestrator.preflight.masks import check_masks
from orchestrator.preflight.own_code import check_own_code
from trainables import data
from trainables.data import DataError
from trainables.data.image_file import VOID
from trainables.sections import Data


def with_checkpoint(request: Request) -> Request:
    """The request with the checksum of its checkpoint's weights among its settings.

    Raises:
        UsageError: a checkpoint where none is wanted, none where one is, or one that does not fit the network.
    """
    baseline, path = draft.baseline(request), request.inputs.checkpoint
    if baseline.pretrained is None:
        if path is not None:
            raise UsageError(f"--checkpoint: the preset {request.preset} trains its own DDPM; drop it")
        return request
    if path is None:
        raise UsageError(f"--checkpoint: the preset {request.preset} needs the weights of a guided-diffusion model")
    from trainables.unet.guided_checkpoint import check_checkpoint, untold  # only now: it imports torch

    wanted, size = baseline.pretrained, baseline.data.image_size
    try:
        weights, place = check_checkpoint(path, wanted, wanted.image_channels, size)
    except DataError as error:
        raise UsageError(f"--checkpoint: {error}") from None
    asked = request.settings.get("pretrained.weights", weights)
    if asked != weights:
        raise UsageError(f"pretrained.weights: must be those of --checkpoint, {weights}, but got {asked}")
    part = f" from its part {place}" if place else ""
    note = (
        f"{path.name} is loaded{part} with {untold(wanted)}, which no key or shape of it tells: "
        "features are wrong unless it was trained so (--set pretrained...=)"
    )
    return replace(request, settings={**request.settings, "pretrained.weights": weights}, notes=(*request.notes, note))


Build = Callable[[Request, data.About], plan.Study]  # of the request and of the facts of its dataset


def looked_at(request: Request, build: Build) -> plan.Study:
    """The study that is asked for, once all that it reads has been looked at; downloads what can be had.

    Raises:
        UsageError: a request that cannot be; data or networks that cannot be used.
    """
    study = _examined(request, build, images=True)
    look_at_networks(study)
    return check_own_code(study)


def planned(request: Request, build: Build) -> plan.Study:
    """The study that is asked for, once the heads of its images and its masks have been looked at: for a dry run.

    Raises:
        UsageError: a request that cannot be; data that cannot be used.
    """
    return check_own_code(_examined(request, build, images=False))


def _examined(request: Request, build: Build, images: bool) -> plan.Study:
    draft.draft(request)  # a word that is wrong is told before the data are read
    baseline, root = draft.baseline(request), request.inputs.data_root
    try:
        if images:
            data.obtain(baseline.data, root)
        found = data.examine(baseline.data, root, images=images)
        if "segmentation" in baseline.stages and found.about.class_names:
            _refuse_one_class(found)
    except DataError as error:
        raise UsageError(str(error)) from None
    study = build(request, found.about)
    if found.arrays:
        sizes = {baseline.data: found.arrays}
        check_masks(study, lambda wanted: _read(sizes, wanted, root))
    remarks = found.survey.remarks if found.survey else ()
    return replace(study, survey=found.survey, notes=(*request.notes, *remarks))


def _read(known: dict[Data, data.Arrays], wanted: Data, root: Path | None) -> data.Arrays:
    """The arrays at another size than the baseline's, which are read once."""
    if wanted not in known:
        known[wanted] = data.read(wanted, root)[1]
    return known[wanted]


def _refuse_one_class(found: data.Examined) -> None:
    """Refuses label masks of one class: as they are in the files, and at the image size where that is known."""
    about, held = found.about, []
    if found.survey:
        held.append({number for number, pixels in enumerate(found.survey.label_pixels) if pixels})
    if found.arrays:
        held.append(set(found.arrays.label_masks.tobytes()))
    for numbers in held:
        classes = numbers - {about.ignore_index}
        if len(classes) > 1:
            continue
        held_one = "".join(f"one class alone, {about.class_names[number]}" for number in classes) or "no class"
        void = (
            f"; {VOID} is void, neither trained on nor scored: if it is meant as a class, write another number in its "
        )
        void += f"place (Python's mask // {VOID} makes 0 and 1 of 0 and {VOID})"
        raise DataError(
            f"the masks of the label pool hold {held_one}: there is nothing to tell apart"
            + (void if VOID in numbers and about.ignore_index == VOID else "")
        )


def look_at_networks(study: plan.Study) -> None:
    """Passes if the networks of the study's metrics are there; downloads them first where they can be had.

    Raises:
        UsageError: one of them cannot be had.
    """
    needed = study.baseline.fid.networks - {"digits"} if "fid" in study.baseline.stages else set()
    if not needed:
        return
    from trainables.evaluation.fid import FILES  # only now: it imports torch

    try:
        for network in sorted(needed):
            FILES[network].obtain()
    except DataError as error:
        raise UsageError(str(error)) from None
