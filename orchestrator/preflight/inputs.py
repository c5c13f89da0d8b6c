"""What a study reads, looked at before anything is started: its data, its checkpoint, its metrics' networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.preflight.masks import check_masks
from trainables import data
from trainables.config import Data
from trainables.data import DataError

IMAGE_CHANNELS = 3  # of every published guided-diffusion model


def with_checkpoint(request: Request) -> Request:
    """The request with the checksum of its checkpoint's weights among its settings.

    Raises:
        UsageError: a checkpoint where none is wanted, none where one is, or one that does not fit the network.
    """
    baseline, path = plan.baseline(request), request.inputs.checkpoint
    if baseline.pretrained is None:
        if path is not None:
            raise UsageError(f"--checkpoint: the preset {request.preset} trains its own DDPM; drop it")
        return request
    if "pretrained.weights" in request.settings:
        raise UsageError("--set: pretrained.weights is found from --checkpoint")
    if path is None:
        raise UsageError(f"--checkpoint: the preset {request.preset} needs the weights of a guided-diffusion model")
    from trainables.unet.guided_checkpoint import check_checkpoint  # only now: it imports torch

    try:
        weights = check_checkpoint(path, baseline.pretrained, IMAGE_CHANNELS, baseline.data.image_size)
    except DataError as error:
        raise UsageError(f"--checkpoint: {error}") from None
    return replace(request, settings={**request.settings, "pretrained.weights": weights})


def looked_at(request: Request, build: Callable[[Request, data.About], plan.Study]) -> plan.Study:
    """The study that is asked for, once all that it reads has been looked at.

    Args:
        build: makes the study of the request and of the facts of its dataset.

    Raises:
        UsageError: a request that cannot be; data or networks that cannot be used.
    """
    plan.draft(request)  # a word that is wrong is told before the data are read
    facts, arrays = look_at_data(request)
    study = build(request, facts)
    sizes = {study.baseline.data: arrays}
    check_masks(study, lambda wanted: _read(sizes, wanted, request.inputs.data_root))
    look_at_networks(study)
    return study


def _read(known: dict[Data, data.Arrays], wanted: Data, root: Path | None) -> data.Arrays:
    """The arrays at another size than the baseline's, which are read once."""
    if wanted not in known:
        known[wanted] = data.read(wanted, root)[1]
    return known[wanted]


def look_at_data(request: Request) -> tuple[data.About, data.Arrays]:
    """The facts of the data and the data, each file of which can be read; downloaded first where that can be.

    Raises:
        UsageError: all that is wrong with the data, file by file.
    """
    baseline, root = plan.baseline(request), request.inputs.data_root
    try:
        data.obtain(baseline.data, root)
        facts, found = data.read(baseline.data, root)
        if "segmentation" in baseline.stages:
            _refuse_one_class(found.label_masks.tobytes(), facts)
        return facts, found
    except DataError as error:
        raise UsageError(str(error)) from None


def _refuse_one_class(masks: bytes, about: data.About) -> None:
    numbers = set(masks) - {about.ignore_index}
    if len(numbers) == 1:
        (name,) = (about.class_names[number] for number in numbers)
        raise DataError(f"the masks of the label pool hold one class alone, {name}: there is nothing to tell apart")


def look_at_networks(study: plan.Study) -> None:
    """Passes if the networks of the study's metrics are there; downloads them first where they can be had.

    Raises:
        UsageError: one of them cannot be had.
    """
    if "fid" not in study.baseline.stages or not {"fid", "kid"} & set(study.baseline.fid.metrics):
        return
    from trainables.evaluation import inception  # only now: it imports torch

    try:
        inception.obtain()
    except DataError as error:
        raise UsageError(str(error)) from None
