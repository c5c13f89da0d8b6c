"""Prints mIoU and time of the pixel classifier with batches of 64 and of 256 pixels, in turn on one trained DDPM.

python benchmarks/classifier_batch.py   (trains the quick baseline first, in a store of its own)
"""

import tempfile

import torch

from search_spaces.presets import quick
from trainables.config import Config, apply
from trainables.pipeline import run_trial
from trainables.store import Store

SETTINGS = ({"segmentation.batch_size": 64, "segmentation.learning_rate": 1e-3}, {})  # the reference's, the preset's


def measured(config: Config, store: Store) -> dict[str, float]:
    *_, last = run_trial(config, store)
    assert last.result is not None
    return {"miou": last.result["metrics"]["miou"], "seconds": last.result["wall_time_s"]["segmentation"]}


def main() -> None:
    torch.set_num_threads(1)
    # A store of its own: what another run left there would tell that run's time.
    store = Store(tempfile.mkdtemp(prefix="classifier-batch-"))
    baseline = apply(quick(), {"stages": ("segmentation",)})
    configs = [apply(baseline, settings) for settings in SETTINGS]
    first, second = (measured(config, store) for config in configs)
    for config, figures in zip(configs, (first, second), strict=True):
        print(f"batch {config.segmentation.batch_size:4d}  mIoU {figures['miou']:.3f}  {figures['seconds']:.1f} s")
    print(f"the larger batch takes {second['seconds'] / first['seconds']:.2f} of the smaller one's time")


if __name__ == "__main__":
    main()
