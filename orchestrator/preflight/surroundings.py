"""What this machine gives a study beside its places: room for temporary files, Ray's sockets, and a cache."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.storage.locations import try_to_write
from trainables.cache import cache_folder

SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107  # bytes of a Unix socket's path
SOCKET = "sockets/plasma_store"  # the longest name of those that Ray makes in a session's folder


def check_surroundings(address: str) -> None:
    """Passes if a study can run in this process's environment.

    Args:
        address: of the Ray cluster; only "local" starts a Ray here.

    Raises:
        UsageError: no folder for temporary files or for the cache, or none that Ray can use.
    """
    try:
        tempfile.gettempdir()
    except OSError:
        raise UsageError("TMPDIR: no folder for temporary files can be written to; name one") from None
    check_cache()
    if address == "local":
        _check_rays_folder()


def check_cache(write: bool = True) -> None:
    """Passes if there is a folder for the cache.

    Args:
        write: whether to prove that it can be written to; a dry run goes without.

    Raises:
        UsageError: it is not known where it is, or it cannot be written to.
    """
    variable = "ABLATION_CACHE" if os.environ.get("ABLATION_CACHE") else "HOME"
    way_out = "; let ABLATION_CACHE name a folder for the cache" if variable == "HOME" else ""
    try:
        folder = cache_folder()
        if write:
            try_to_write(folder)
    except RuntimeError:  # no HOME, and nobody of this number among the machine's users
        raise UsageError(f"HOME: is not set{way_out}") from None
    except OSError as error:
        raise UsageError(f"{variable}: cannot write to {cache_folder()} ({error.strerror}){way_out}") from None


def _check_rays_folder() -> None:
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "RAY_TMPDIR")
    folder = Path(os.environ.get(variable, "/tmp"), "ray")
    session = f"session_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{os.getpid()}"
    excess = len(os.fsencode(folder / session / SOCKET)) - SOCKET_LIMIT
    if excess > 0:
        most = len(os.fsencode(folder.parent)) - excess
        raise UsageError(f"{variable}: Ray's sockets take a path of {most} bytes at most, but got {folder.parent}")
    try:
        try_to_write(folder)
    except OSError as error:
        why = f"Ray cannot write to {folder} ({error.strerror})"
        raise UsageError(f"{variable}: {why}; let RAY_TMPDIR name a folder of your own, of a short path") from None
