"""Where the cache folder is, and that whoever asks for it waits for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.cache import cache_folder, keep, kept

ROOT = Path(__file__).parents[2]


def test_folder_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("ABLATION_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "diffusion-ablations"


def test_what_is_kept_is_there_for_all_whom_the_umask_lets_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path))
    before = os.umask(0o002)
    try:
        keep("costs/a.json", [1])
    finally:
        os.umask(before)
    (made,) = (tmp_path / "costs").iterdir()
    assert made.stat().st_mode & 0o777 == 0o664
    assert kept("costs/a.json") == [1]


def test_it_is_told_without_numpy_and_the_data() -> None:
    code = (
        "import sys; from trainables.cache import cache_folder; cache_folder(); "
        "sys.exit(bool({'numpy', 'torch', 'trainables.data'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
