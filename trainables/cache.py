"""Where this machine keeps what can be made again: the project's cache folder."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """The folder that ABLATION_CACHE names, else ~/.cache/diffusion-ablations."""
    named = os.environ.get("ABLATION_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "diffusion-ablations"


def kept(name: str) -> Any:
    """What `keep` kept under the name; None where there is nothing, or nothing that can be read."""
    try:
        return json.loads((cache_folder() / name).read_text())
    except (OSError, ValueError):
        return None


def keep(name: str, value: object) -> None:
    """Keeps what JSON can say, whole or not at all; where it cannot be written the next one takes as long as this."""
    path = cache_folder() / name
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as scratch:
            made = Path(scratch) / path.name  # a temporary file would be its maker's alone
            made.write_text(json.dumps(value))
            os.replace(made, path)
