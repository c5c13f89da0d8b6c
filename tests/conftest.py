"""What all tests share: an environment that sends nothing out, and a study so small that it takes seconds."""

import os
from pathlib import Path

import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("MPLBACKEND", "Agg")
# Before torch is imported: small tensors are slower on more threads than there are idle cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent

TINY = {
    "unet.base_channels": 8,
    "unet.channel_mults": (1, 2),
    "unet.attention_resolutions": (8,),
    "training.train_steps": 4,
    "training.batch_size": 8,
    "sampling.sampling_steps": 2,
    "sampling.sampling_repeats": 2,
    "sampling.samples": 80,
    "segmentation.blocks": (4, 5),
    "segmentation.label_images": 4,
    "segmentation.ensemble_size": 2,
    "segmentation.epochs": 1,
}


@pytest.fixture(scope="session")
def tiny() -> dict[str, object]:
    """Overrides on the quick preset that make a trial take a second or two."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_words() -> list[str]:
    """The same as words of the command line."""
    words = []
    for name, value in TINY.items():
        words += ["--set", f"{name}={list(value) if isinstance(value, tuple) else value}"]
    return words


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that `ABLATION_DATA` names; skips where it is not there."""
    path = Path(os.environ.get("ABLATION_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set ABLATION_DATA")
    return path
