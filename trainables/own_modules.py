"""Modules of a person's own, imported: again where their files have changed, as they do beside a notebook."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from trainables import syntax
from trainables.own_places import PartError, digest, file_at, is_own_file, resent

T = TypeVar("T")
_BEGAN = time.time()
_known: dict[str, tuple[Path, str]] = {}  # those in sys.modules: each one's file, and its digest when it was imported
_seen: dict[str, object] = {}  # what was in sys.modules when it was last looked at


def imported(name: str) -> Any:
    """The module of a file or of a dotted name, as its files are now.

    Raises:
        PartError: there is no such file or module, or importing it fails.
    """
    _note(ours=False)
    _drop_changed()
    try:
        return _imported(name)
    finally:
        _note(ours=True)


def told(error: BaseException) -> str:
    """An error of a person's code in one line, with its place in the last of their files."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {said[-1]}" if said else type(error).__name__
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    theirs = [frame for frame in frames if is_own_file(Path(frame.filename))]
    return f"{text} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else text


def _note(ours: bool) -> None:
    """Notes the modules of a person's own that are new.

    Args:
        ours: whether they were imported just now; else a file that has changed since this process began may have
            changed since its import.
    """
    if sys.modules == _seen:  # a sampler asks at every step
        return
    for name in _known.keys() - sys.modules.keys():
        del _known[name]
    new = {name: module for name, module in sys.modules.items() if _seen.get(name) is not module}
    _seen.clear()
    _seen.update(sys.modules)
    for name in new.keys() - {"__main__"}:
        _known.pop(name, None)
        file = getattr(new[name], "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and is_own_file(path := Path(file)):
            with contextlib.suppress(OSError):
                _known[name] = path, digest(path) if ours or path.stat().st_mtime < _BEGAN else ""


def _drop_changed() -> None:
    """Takes out of sys.modules those whose files have changed, and those that import them."""
    tops = {_top(name) for name, (file, then) in _known.items() if _changed(file, then)}
    while tops and (more := {_top(name) for name, (file, _) in _known.items() if _imports(file) & tops} - tops):
        tops |= more
    for name in [name for name in _known if _top(name) in tops]:
        del _known[name]
        sys.modules.pop(name, None)
    if tops:
        importlib.invalidate_caches()


def _changed(file: Path, then: str) -> bool:
    """Whether a module of the file would be another one now: by its text, or by what was sent since."""
    return not file.is_file() or digest(file) != then or resent(file)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _imports(file: Path) -> set[str]:
    """The top-level modules that a file imports, anywhere in it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    return {_top(dotted) for dotted in syntax.imports(ast.walk(tree), "", package=False).values()}


def _imported(name: str) -> Any:
    if not name.endswith(".py"):
        if str(Path.cwd()) not in sys.path and "" not in sys.path:
            sys.path.append(str(Path.cwd()))
        return _tried(name, lambda: importlib.import_module(name))
    file = file_at(name)
    if file is None:
        raise PartError(f"{name}: there is no such file in {Path.cwd()}")
    if str(file.parent) not in sys.path:  # for the files beside it, last: they hide nothing
        sys.path.append(str(file.parent))
    place = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    known = f"own_{file.stem.replace('-', '_')}_{place}_{digest(file)}"  # another text is another module
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, file)
    assert spec is not None and spec.loader is not None
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules[known] = module
    try:
        _tried(name, lambda: loader.exec_module(module))
    except PartError:
        del sys.modules[known]
        raise
    return module


def _tried(name: str, action: Callable[[], T]) -> T:
    try:
        return action()
    except SyntaxError as error:
        raise PartError(f"{name}: is no Python ({error.msg}, line {error.lineno})") from error
    except Exception as error:  # whatever a person's module raises
        raise PartError(f"{name}: cannot be imported: {told(error)}") from error
