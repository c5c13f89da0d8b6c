"""What a study reads, looked at before anything is started: its data, its checkpoint, its metrics' networks."""

from __future__ import annotations

from dataclasses import replace

from orchestrator import plan
from orchestrator.errors import UsageError
from trainables import data
from trainables.data import DataError


def with_checkpoint(request: plan.Request) -> plan.Request:
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
    from trainables.unet.guided_diffusion import check_checkpoint  # only now: it imports torch

    try:
        weights = check_checkpoint(path, baseline.pretrained, IMAGE_CHANNELS, baseline.data.image_size)
    except DataError as error:
        raise UsageError(f"--checkpoint: {error}") from None
    return replace(request, settings={**request.settings, "pretrained.weights": weights})


IMAGE_CHANNELS = 3  # of every published guided-diffusion model


def look_at_data(request: plan.Request) -> None:
    """Passes if every file of the data can be read; downloads them first where they are not there and can be had.

    Raises:
        UsageError: all that is wrong with the data, file by file.
    """
    baseline, root = plan.baseline(request), request.inputs.data_root
    try:
        data.obtain(baseline.data, root)
        found = data.arrays(baseline.data, root)
        if "segmentation" in baseline.stages:
            _refuse_one_class(found.label_masks.tobytes(), data.about(baseline.data, root))
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
