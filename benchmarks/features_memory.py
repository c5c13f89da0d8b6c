"""Prints the memory and the time of Bedroom-28's features: kept at their own resolution, and up-sampled first.

python benchmarks/features_memory.py   (40 images at 256x256, the maps of guided-diffusion's LSUN model; no weights)

Each measurement is a process of its own, and its memory is the peak above what it held before.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.presets import bedroom
from trainables.diffusion.process import Process
from trainables.evaluation.features import DecoderOutputs, FeatureMaps, joined
from trainables.evaluation.pixel_classifier import Ensemble, Labelled, Trainer, vote
from trainables.sections import Segmentation
from trainables.unet.guided_diffusion import GuidedUNet

IMAGES, CLASSES = 40, 29
CONFIG = bedroom()
SIZE = CONFIG.data.image_size


class Shapes:
    """Maps of the shapes that the LSUN network puts out, from no network at all."""

    def __init__(self) -> None:
        blocks = CONFIG.segmentation.blocks
        with torch.device("meta"):
            assert CONFIG.pretrained is not None
            network = GuidedUNet(CONFIG.pretrained, 3, SIZE)
            found = network.features(torch.empty(1, 3, SIZE, SIZE), torch.zeros(1, dtype=torch.long), blocks)
        self.shapes = {block: m.shape[1:] for block, m in found.items()}

    def features(self, x_t: Tensor, t: Tensor, blocks: Sequence[int]) -> dict[int, Tensor]:
        """Random maps."""
        return {block: torch.randn(len(x_t), *self.shapes[block]) for block in blocks}


def maps(images: int) -> FeatureMaps:
    segmentation = CONFIG.segmentation
    source = DecoderOutputs(Shapes(), Process(CONFIG.diffusion), segmentation.timesteps, segmentation.blocks, 0, 1)
    making = joined(source.batches(torch.zeros(images, 3, SIZE, SIZE, dtype=torch.uint8)), images)
    while True:
        try:
            next(making)
        except StopIteration as end:
            return end.value


def training() -> Callable[[], Any]:
    """The features of all labelled images, and one step of the classifier on them."""

    def run() -> Any:
        labelled = Labelled(maps(IMAGES), torch.zeros(IMAGES, SIZE, SIZE, dtype=torch.uint8), 255)
        steps = Trainer(labelled, None, CLASSES, CONFIG.segmentation, 0).run()
        return [next(steps) for _ in range(2)]  # its start, and the first steps to its first word

    return run


def prepared() -> tuple[FeatureMaps, Ensemble]:
    one = maps(1)
    return one, Ensemble(sum(one.channels), CLASSES, Segmentation(), 0).eval()


def prediction() -> Callable[[], Any]:
    """One image by ten members, as we do it."""
    one, ensemble = prepared()
    return lambda: ensemble.predict(one, 0).classes


@torch.no_grad()
def materialised() -> Callable[[], Any]:
    """One image by ten members, every feature up-sampled first and the members one after the other."""
    one, ensemble = prepared()

    @torch.no_grad()
    def run() -> Any:
        small = [m[0].permute(2, 0, 1)[None] for m in one.maps]
        large = [F.interpolate(m, size=SIZE, mode="bilinear", align_corners=False)[0] for m in small]
        x = torch.cat(large).flatten(1).T.contiguous()
        votes = []
        for member in range(ensemble.members):
            h = x @ ensemble.weights[0][member] + ensemble.biases[0][member]
            for norm, w, b in zip(ensemble.norms, list(ensemble.weights)[1:], list(ensemble.biases)[1:], strict=True):
                own = slice(member * h.shape[1], (member + 1) * h.shape[1])
                scale = norm.weight[own] / (norm.running_var[own] + norm.eps).sqrt()
                h = (F.relu(h) - norm.running_mean[own]) * scale + norm.bias[own]
                h = h @ w[member] + b[member]
            votes.append(h.argmax(-1).reshape(SIZE, SIZE))
        return vote(torch.stack(votes), CLASSES)

    return run


def _measured(name: str, results) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = globals()[name]()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    found = run()
    seconds = time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9
    results.put((memory, seconds, None if name == "training" else found.numpy()))


def measured(name: str) -> tuple[float, float, Any]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_measured, args=(name, results))
    process.start()
    found = results.get()
    process.join()
    return found


def main() -> None:
    channels = sum(shape[0] for shape in Shapes().shapes.values()) * len(CONFIG.segmentation.timesteps)
    whole = channels * SIZE**2 * 4 / 1e9
    print(f"{channels} channels; up-sampled: {whole:.1f} GB an image, {IMAGES * whole:.1f} GB for {IMAGES}")
    memory, _, _ = measured("training")
    print(f"training on {IMAGES} images, at their own resolution   {memory:5.2f} GB")
    ours, theirs = measured("prediction"), measured("materialised")
    print(f"predicting one image by ten members, ours          {ours[0]:5.2f} GB  {ours[1]:6.1f} s")
    print(f"predicting one image by ten members, up-sampled    {theirs[0]:5.2f} GB  {theirs[1]:6.1f} s")
    same = float((ours[2] == theirs[2]).mean())
    print(f"ours takes {ours[1] / theirs[1]:.2f} of the time; the same class at {100 * same:.2f} % of the pixels")


if __name__ == "__main__":
    main()
