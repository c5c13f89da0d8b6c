"""Where the cache folder is, and that whoever asks for it waits for nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainables.cache import cache_folder

ROOT = Path(__file__).parents[2]


def test_folder_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("ABLATION_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "diffusion-ablations"


def test_it_is_told_without_numpy_and_the_data() -> None:
    code = (
        "import sys; from trainables.cache import cache_folder; cache_folder(); "
        "sys.exit(bool({'numpy', 'torch', 'trainables.data'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
