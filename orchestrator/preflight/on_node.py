"""What a preflight looks at on a node. It runs in Ray's workers there, is asked in plain values and answers in them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.cluster.resources import trials_a_gpu
from orchestrator.errors import Unfit
from orchestrator.planning.remarks import called, splits
from orchestrator.preflight.findings import tried
from results.formatting import size
from trainables.config import Config, apply
from trainables.data import about
from trainables.inputs import Inputs
from trainables.own_parts import load
from trainables.own_places import take
from trainables.source import reached, source_hash
from trainables.store import Store

FREE_BYTES = 10**9
LIBRARIES = ("ray", "torch", "numpy", "pydantic")
PACKAGES = ("orchestrator", "search_spaces", "trainables", "results")

Ask = Mapping[str, Any]


def answer(ask: Ask) -> dict[str, Any]:
    """What this node finds where the driver asks it to look, its versions, and its clock's time before and after."""
    began = time.time()
    take(ask["own_files"])
    found = [tried("", what, partial(_look_at, what, ask)) for what in ask["looks"]]
    return {"found": [astuple(f)[1:] for f in found], "versions": versions(), "began": began, "ended": time.time()}


def _look_at(what: str, ask: Ask) -> str:
    looks: dict[str, Callable[[Ask], str]] = {
        "store": _use_store,
        "disk": _measure_disk,
        "data": _compare_data,
        "checkpoint": _compare_checkpoint,
        "inception": partial(_obtain, "inception"),
        "dinov2": partial(_obtain, "dinov2"),
        "own code": _import_parts,
    }
    return looks[what](ask)


def _use_store(ask: Ask) -> str:
    store, token = Store(ask["store"]), str(ask["token"]).encode()
    fs, folder = store.fs, f"{store.root}/{ask['probe']}"
    fs.invalidate_cache()
    if not fs.exists(f"{folder}/driver") or fs.cat_file(f"{folder}/driver") != token:
        raise Unfit(f"{store.root} here is not the driver's: what it wrote is not there; all nodes must share one")
    for name in (ask["node"], f"{ask['node']}-own"):
        fs.pipe_file(f"{folder}/{name}", token)
        if fs.cat_file(f"{folder}/{name}") != token:
            raise Unfit(f"{store.root} does not give back what was written")
    fs.rm_file(f"{folder}/{ask['node']}-own")  # the driver reads and removes the other
    return "written, read, deleted"


def _measure_disk(ask: Ask) -> str:
    store = Store(ask["store"])
    folder = Path(store.root) if store.local else store.cache
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if free < FREE_BYTES:
        raise Unfit(f"{size(free)} free at {folder}; at least {size(FREE_BYTES)} are needed")
    return f"{size(free)} free at {folder}"


def _compare_data(ask: Ask) -> str:
    data = Config.model_validate(ask["config"]).data
    root = _inputs(ask).data_root
    facts = about(data, root)
    found, expected = facts.fingerprint, ask["fingerprint"]
    if found != expected:
        where = ask["inputs"]["data_root"] or "the dataset's own folder"
        raise Unfit(f"other files than the driver's in {where}: fingerprint {found[:12]}, but it has {expected[:12]}")
    return f"{called(data, root)}, {splits(facts)}; fingerprint {found[:12]}"


def _compare_checkpoint(ask: Ask) -> str:
    pretrained, path = Config.model_validate(ask["config"]).pretrained, _inputs(ask).checkpoint
    assert pretrained is not None and path is not None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != pretrained.weights:
        raise Unfit(f"{path} is another file: SHA-256 {found[:12]}, but the driver's has {pretrained.weights[:12]}")
    return f"{path}, SHA-256 {found[:12]}"


def _obtain(network: str, ask: Ask) -> str:
    from trainables.evaluation.fid import FILES  # only now: it imports torch

    return str(FILES[network].obtain())


def _import_parts(ask: Ask) -> str:
    parts, expected = ask["own_parts"], ask["own_source"]
    for reference in parts:
        load(reference)
    found = source_hash(reached(parts, frozenset()))
    if found != expected:
        raise Unfit(f"{', '.join(parts)}: other code than the driver's, hash {found}, but it has {expected}")
    return f"{', '.join(parts)}, hash {found}"


def _inputs(ask: Ask) -> Inputs:
    return Inputs(**{name: path and Path(path) for name, path in ask["inputs"].items()})


def versions() -> dict[str, str]:
    """The versions that figures depend on, found without an import; `source` is a hash of this package's own."""
    # What a wheel was built for (2.11.0+cu128) may differ between a driver and the nodes with GPUs.
    installed = {name: importlib.metadata.version(name).partition("+")[0] for name in LIBRARIES}
    return {"python": platform.python_version(), **installed, "source": _source()}


def _source() -> str:
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations
        folder = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def dry_trial(ask: Ask) -> tuple[bool, str]:
    """Whether a short trial of the study's baseline ended well here, and the GPU memory that it took."""
    found = tried("", "", partial(_try_trial, ask))
    return found.ok, found.detail


def _try_trial(ask: Ask) -> str:
    import torch

    from trainables.determinism import set_determinism
    from trainables.pipeline import run_trial

    take(ask["own_files"])
    set_determinism(torch.device(ask["device"]), int(ask["cpus"]), ask["deterministic"])
    gpus, began = float(ask["gpus"]), time.monotonic()
    config = short(Config.model_validate(ask["config"]), gpus > 0)
    try:
        with tempfile.TemporaryDirectory(prefix="dry-trial-") as folder:
            for record in run_trial(config, Store(folder), ask["device"], inputs=_inputs(ask)):
                if "out of memory" in record.note:  # a real trial would go on, more slowly, and may fail in the end
                    raise torch.OutOfMemoryError
    except torch.OutOfMemoryError:
        raise Unfit(f"GPU out of memory: {_memory(gpus)}") from None
    took = f"{config.training.train_steps} steps and every stage in {time.monotonic() - began:.1f} s"
    if not gpus:
        return took
    if torch.cuda.max_memory_allocated() * trials_a_gpu(gpus) > torch.cuda.get_device_properties(0).total_memory:
        raise Unfit(f"GPU memory too small: {_memory(gpus)}")
    return f"{took}; {_memory(gpus)}"


def _memory(gpus: float) -> str:
    import torch

    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    sharing = f", which {trials_a_gpu(gpus)} trials share" if trials_a_gpu(gpus) > 1 else ""
    return f"peak {size(peak)} of the GPU's {size(total)}{sharing}"


def short(config: Config, gpu: bool) -> Config:
    """The config with every stage cut to a few steps.

    What fills a GPU first stays as it is: the training's batch, and one batch of samples. The labelled images are few.
    """
    sampling, segmentation = config.sampling, config.segmentation
    batches_images = math.ceil(segmentation.batch_size / config.data.image_size**2)  # a batch must be full
    return apply(
        config,
        {
            "training.train_steps": min(2, config.training.train_steps),
            "sampling.sampling_steps": min(2, sampling.sampling_steps),
            "sampling.sampling_repeats": 1,
            # A Frechet distance is measured on each half of them too: 4 images at least.
            "sampling.samples": min(sampling.samples, max(4, sampling.batch_size if gpu else 8)),
            "fid.nearest_k": min(3, config.fid.nearest_k),  # of as few samples
            "fid.reference_images": min(100, config.fid.reference_images or 100),
            "segmentation.label_images": min(segmentation.label_images, 1 + batches_images),
            "segmentation.validation_images": min(segmentation.validation_images, 2),
            "segmentation.held_out_images": min(segmentation.held_out_images, 2),
            "segmentation.epochs": 1,
        },
    )
