"""Where this machine keeps what can be made again: the project's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder that ABLATION_CACHE names, else ~/.cache/diffusion-ablations."""
    named = os.environ.get("ABLATION_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "diffusion-ablations"
