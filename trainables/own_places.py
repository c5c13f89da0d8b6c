"""Where code of a person's own lies: the files and modules that settings name, and those that a driver has sent.

A file is relative to the current folder. Where a driver has sent its files along, in a worker, they lie in a folder of
their own (`take`), and are found there first. Imports no torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

OURS = ("trainables", "search_spaces", "results", "orchestrator")

STALE_S = 7 * 24 * 3600.0  # after the last process began to use it

_sent: list[Path] = []  # folders of files that a driver has sent
_beside: list[Path] = []  # folders of files that settings name


class PartError(ValueError):
    """A part that cannot be had or used; its text is one line that names it and says why."""


def places() -> list[Path]:
    """The folders in which files and modules of a person's own are looked for, in that order."""
    return [*_sent, Path.cwd()]


def file_at(path: str) -> Path | None:
    """Where a part's file lies; None where it is not. The modules beside it can be imported from then on."""
    found = next((found for folder in places() if (found := folder / path).is_file()), None)
    if found and found.parent not in _beside:
        _beside.append(found.parent)
    return found


def files_beside(path: str) -> list[str]:
    """The Python files of the folder that a part's file would be in, by their paths from where it is looked for."""
    folder = Path(path).parent
    return [file.relative_to(place).as_posix() for place in places() for file in (place / folder).glob("*.py")]


def modules_at_hand() -> list[str]:
    """The top-level modules of a person's own in the current folder, and those that are installed."""
    packages = [file.parent for file in Path.cwd().glob("*/__init__.py")]
    own = [file.stem for file in [*Path.cwd().glob("*.py"), *packages]]
    return [*own, *importlib.metadata.packages_distributions()]


def folder_of(top: str) -> Path | None:
    """The folder from which a person's own top-level module is imported; None for any other module.

    Raises:
        PartError: there are two: Python would give the one that it met first to all parts.
    """
    if top in OURS:
        return None
    folders = dict.fromkeys([*places(), *_beside])
    having = [f for f in folders if (f / f"{top}.py").is_file() or (f / top / "__init__.py").is_file()]
    if len(having) > 1 and having[0] not in _sent:
        raise PartError(f"there is a module {top} in {having[0]} and one in {having[1]}: give one another name")
    return having[0] if having else _elsewhere(top)


@cache
def _elsewhere(top: str) -> Path | None:
    """The same of a module of a person's own that is installed from where they edit it."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not is_own_file(file := Path(spec.origin)):
        return None
    return file.parent.parent if file.name == "__init__.py" else file.parent


def digest(file: Path) -> str:
    """A hash of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def take(files: Mapping[str, str]) -> None:
    """Makes files that a driver has sent importable here; those that came last are found first.

    Args:
        files: their texts by path, relative to the folder that modules are looked for in.
    """
    if not files:
        return
    known = hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:12]
    folder = next((folder for folder in _sent if folder.name.endswith(known)), None) or _laid(files, known)
    earlier = [str(other) for other in _sent if other != folder]
    sys.path[:] = [path for path in sys.path if path != str(folder)]
    sys.path.insert(
        min((sys.path.index(path) for path in earlier if path in sys.path), default=len(sys.path)), str(folder)
    )
    _sent[:] = [folder, *(other for other in _sent if other != folder)]
    importlib.invalidate_caches()


def resent(file: Path) -> bool:
    """Whether a file that was sent has been sent anew since."""
    folder = next((folder for folder in _sent if file.is_relative_to(folder)), None)
    return folder is not None and any((f / file.relative_to(folder)).is_file() for f in _sent[: _sent.index(folder)])


def _laid(files: Mapping[str, str], known: str) -> Path:
    """The folder with the files, one for all processes of this user: a worker that is killed clears nothing."""
    mine = Path(tempfile.gettempdir(), f"diffusion-ablations-{os.getuid()}")
    mine.mkdir(mode=0o700, exist_ok=True)
    if mine.stat().st_uid != os.getuid():  # another user has made it
        mine = Path(tempfile.mkdtemp(prefix="diffusion-ablations-"))
    _clear_stale(mine)
    folder = mine / f"parts-{known}"
    if not folder.is_dir():
        _write(files, folder)
    os.utime(folder)
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)  # until this process ends
    return folder


def _write(files: Mapping[str, str], folder: Path) -> None:
    beside = Path(tempfile.mkdtemp(dir=folder.parent))
    for path, text in files.items():
        (beside / path).parent.mkdir(parents=True, exist_ok=True)
        (beside / path).write_text(text, encoding="utf-8")
    try:
        beside.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(beside)


def _clear_stale(mine: Path) -> None:
    """Removes the folders that no process uses and none has begun to use for a week."""
    for folder in mine.iterdir():
        with contextlib.suppress(OSError):  # in use, or another process was faster
            if time.time() - folder.stat().st_mtime < STALE_S:
                continue
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(handle)


@cache
def _installed() -> tuple[Path, ...]:
    """The folders of the interpreter's own modules and of installed packages."""
    paths = sysconfig.get_paths()
    return tuple(Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_own_file(file: Path) -> bool:
    """Whether a module's file is neither Python's, nor of an installed package, nor of this project."""
    file = file.resolve()
    here = Path(__file__).resolve().parent.parent
    ours = any(file.is_relative_to(here / name) for name in OURS)
    return file.is_file() and not ours and not any(file.is_relative_to(folder) for folder in _installed())
