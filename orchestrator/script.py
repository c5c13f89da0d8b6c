"""The installed command `diffusion-ablations`: `python -m orchestrator.run` under a name of its own."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Runs the command as `python -m` does: with the current folder, not the script's, first on the path."""
    if not sys.flags.safe_path:  # then neither of them is there
        sys.path[0] = str(Path.cwd())
    runpy.run_module("orchestrator.run", run_name="__main__", alter_sys=True)
