"""What all tests share: an environment that sends nothing out, and a study so small that it takes seconds."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("MPLBACKEND", "Agg")
# Before torch is imported: small tensors are slower on more threads than there are idle cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if hasattr(signal, "SIGHUP"):  # ignored under nohup, and what a test starts would ignore it too
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

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
def tiny_words() -> Callable[..., list[str]]:
    """Makes words of the command line of the same, or of one that trains for more steps."""

    def made(train_steps: int = TINY["training.train_steps"]) -> list[str]:
        words = []
        for name, value in (TINY | {"training.train_steps": train_steps}).items():
            words += ["--set", f"{name}={list(value) if isinstance(value, tuple) else value}"]
        return words

    return made


@pytest.fixture(scope="session")
def undisturbed_figures(tiny, tmp_path_factory) -> Callable[..., dict[str, dict[str, float]]]:
    """Measures variants and controls of the tiny study, without Ray and without faults: the figures by trial."""

    def measured(names: Iterable[str], train_steps: int) -> dict[str, dict[str, float]]:
        # Only now: tests of words and of results need no torch.
        from search_spaces.ablations import CONTROLS, VARIANTS
        from search_spaces.presets import quick
        from trainables.config import apply
        from trainables.pipeline import run_trial
        from trainables.store import Store

        store = Store(tmp_path_factory.mktemp("undisturbed"))
        baseline = apply(quick(), tiny | {"training.train_steps": train_steps})
        figures = {}
        for name in names:
            *_, last = run_trial(apply(baseline, (VARIANTS | CONTROLS)[name]), store)
            figures[f"{name}-seed0"] = last.result["metrics"]
        return figures

    return measured


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, for parts of one's own; what was imported from it is forgotten."""
    from trainables import own_places

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    for folders in ("_sent", "_beside"):
        monkeypatch.setattr(own_places, folders, [])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where files that were sent are laid
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # an edit within a second has the same time and length
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]
    own_places._elsewhere.cache_clear()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


def named_folder(variable: str, usual: str, what: str) -> Path:
    """The folder that the variable names, else the usual one beside the checkout; skips where it is not there."""
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / usual))
    if not path.is_dir():
        pytest.skip(f"no {what} at {path}; set {variable}")
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data."""
    return named_folder("ABLATION_DATA", "data", "real data")


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of files as people have them."""
    return named_folder("ABLATION_CASES", "cases", "files as people have them")
