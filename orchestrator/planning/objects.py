"""A class or function that is given as an object -> the text that names it, and the file that holds it.

Workers are sent texts, and a key is made of source, so an object is worth what its source is. One of a module is named
by the module; of a script or a notebook, whose own name is `__main__`, a file is made that holds it (`cells`).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.planning.cells import module_text
from trainables.own_parts import PartError, check_there, is_reference
from trainables.own_places import folder_of, is_own_file


def as_settings(settings: Mapping[str, Any], files: dict[str, str]) -> dict[str, Any]:
    """The settings with texts in place of objects.

    Args:
        files: gets the texts of the files that were made for them, by path.

    Raises:
        PartError: an object that no text can name; it says of which setting.
    """
    named: dict[str, Any] = {}
    for setting, value in settings.items():
        try:
            several = isinstance(value, list | tuple)
            named[setting] = [_named(v, files) for v in value] if several else _named(value, files)
        except PartError as error:
            raise PartError(f"{setting}: {error}") from None
    return named


def _named(value: Any, files: dict[str, str]) -> Any:
    if not callable(value):
        return value
    name = _name(value)
    if value.__module__ == "__main__":
        file = f"{_stem()}_{name}.py"
        files[file] = module_text(value)
        return f"{file}:{name}"
    return _of_module(value, name)


def _name(part: Any) -> str:
    name = getattr(part, "__qualname__", "")
    if name.endswith("<lambda>"):
        raise PartError("a lambda has no name to find it by: write it with def")
    if not isinstance(part, type) and not inspect.isroutine(part):
        what = type(part).__name__
        raise PartError(f"must be a class or a function, not an object of {what}: its arguments go to the _args")
    if "." in name or not getattr(part, "__module__", None):
        raise PartError(f"{name}: must stand by itself in a file or cell, not inside of another function or class")
    return str(name)


def _stem() -> str:
    """What the files of `__main__` are called after: a name that stays when the code changes."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    return re.sub(r"[^\w-]", "_", Path(script).stem) if script else "notebook"


def _of_module(part: Any, name: str) -> str:
    module = part.__module__
    top, last = module.partition(".")[0], module.rpartition(".")[2]
    if top in sys.stdlib_module_names:
        raise PartError(f"{module}:{name} is of Python itself: write a class or function of your own around it")
    file = Path(getattr(sys.modules.get(module), "__file__", None) or ".").resolve()
    by_name = file.stem in (last, "__init__") and folder_of(top) is not None
    if is_own_file(file) and not by_name:  # it was loaded by its path
        if not file.is_relative_to(Path.cwd()):
            raise PartError(f"{name}: its file {file} is not in the current folder, and cannot be imported by a name")
        reference = f"{file.relative_to(Path.cwd()).as_posix()}:{name}"
    else:
        reference = f"{module}:{name}"
    if not is_reference(reference):
        raise PartError(f"{reference}: a file's path may have letters, digits, '_', '-' and '.' alone")
    check_there(reference)
    return reference
