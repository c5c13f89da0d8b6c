"""Parts of a person's own: what a setting names as `file.py:Name` or `package.module:Name`. Imports no torch.

A file is relative to the current folder. Where a driver has sent its files along, in a worker, they lie in a folder of
their own (`take`), and are found there first.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import re
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

FILE = r"(?:[\w-][\w.-]*/)*[\w-]+\.py"
MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
REFERENCE = re.compile(rf"(?P<module>{FILE}|{MODULE}):(?P<name>[A-Za-z_]\w*)")
OURS = ("trainables", "search_spaces", "results", "orchestrator")
FORMS = "file.py:Name in the current folder, or package.module:Name"

T = TypeVar("T")
_sent: list[Path] = []  # folders of files that a driver has sent
_beside: list[Path] = []  # folders of files that settings name


class PartError(ValueError):
    """A part that cannot be had or used; its text is one line that names it and says why."""


@dataclass(frozen=True)
class Named:
    """The type of a setting that names a part: one of ours, or one of the person's own.

    Args:
        names: of ours.
    """

    names: tuple[str, ...]

    def check(self, value: str) -> str:
        """The value, if it can name a part.

        Raises:
            ValueError: it cannot.
        """
        if value in self.names or is_reference(value):
            return value
        raise ValueError(f"must be {', '.join(self.names)}, or a part of your own ({FORMS}), but got {value!r}")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self.names)}, {"type": "string", "pattern": f"^{REFERENCE.pattern}$"}]}


class Args(dict[str, Any]):
    """Arguments of a part by name: plain values, as JSON has them."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.dict_schema(core_schema.str_schema(pattern=r"^[A-Za-z_]\w*$"), core_schema.any_schema())
        return core_schema.no_info_after_validator_function(cls._plain, schema)

    @classmethod
    def _plain(cls, values: dict[str, Any]) -> Args:
        """The values as JSON gives them back: a tuple is a list, so that a file and a program mean the same."""
        try:
            return cls(json.loads(json.dumps(values, allow_nan=False)))
        except (TypeError, ValueError):
            raise ValueError(f"must be plain values, such as numbers, texts and lists, but got {values!r}") from None


def is_reference(value: object) -> bool:
    """Whether a setting's value names a part of the person's own."""
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def name_of(reference: str) -> str:
    """The part's own name, without where it is from."""
    return reference.rpartition(":")[2]


def chosen(table: Mapping[str, T], name: str) -> T:
    """The part that a setting names, ours or the person's own.

    Raises:
        PartError: a part of the person's own that cannot be had.
    """
    return table[name] if name in table else load(name)


def check_there(reference: str) -> None:
    """Passes if there is a file or module of a part, and the file is Python; nothing is imported.

    Raises:
        PartError: there is none, or it is not.
    """
    name = reference.partition(":")[0]
    if not name.endswith(".py"):
        top = name.partition(".")[0]
        if folder_of(top) is None and importlib.util.find_spec(top) is None:
            raise PartError(f"{reference}: there is no module {top}, neither in {Path.cwd()} nor installed")
        return
    file = file_at(name)
    if file is None:
        raise PartError(f"{reference}: there is no file {name} in {Path.cwd()}")
    try:
        ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise PartError(f"{reference}: {name} is no Python ({error.msg}, line {error.lineno})") from None
    except (OSError, ValueError) as error:
        raise PartError(f"{reference}: {name} cannot be read as text ({error})") from None


def load(reference: str) -> Any:
    """The part itself, imported.

    Raises:
        PartError: no such file, module or name, or importing it fails.
    """
    found = REFERENCE.fullmatch(reference)
    assert found is not None
    module = _imported(found["module"])
    if not hasattr(module, found["name"]):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        has = ", ".join(sorted(own)) or "nothing that can be called"
        raise PartError(f"{reference}: there is no {found['name']} in it; it has {has}")
    part = getattr(module, found["name"])
    if not callable(part):
        raise PartError(f"{reference}: must be a class or a function, but is {type(part).__name__}")
    return part


def made(whose: str, build: Callable[[], T]) -> T:
    """What `build` makes of parts.

    Args:
        whose: the parts, in words.

    Raises:
        PartError: it raises.
    """
    try:
        return build()
    except PartError:
        raise
    except Exception as error:  # whatever a person's code raises
        raise PartError(f"{whose}: cannot be made or run: {told(error)}") from error


def told(error: BaseException) -> str:
    """An error of a person's code in one line, with its place in the last of their files."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {said[-1]}" if said else type(error).__name__
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    theirs = [frame for frame in frames if is_own_file(Path(frame.filename))]
    return f"{text} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else text


def places() -> list[Path]:
    """The folders in which files and modules of a person's own are looked for, in that order."""
    return [*_sent, Path.cwd()]


def file_at(path: str) -> Path | None:
    """Where a part's file lies; None where it is not. The modules beside it can be imported from then on."""
    found = next((found for folder in places() if (found := folder / path).is_file()), None)
    if found and found.parent not in _beside:
        _beside.append(found.parent)
    return found


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


def version_of(reference: str) -> str:
    """The installed package and version that a part is of, `diffusers 0.36.0`; "" where it is of none."""
    top = reference.partition(":")[0].partition(".")[0]
    if not is_reference(reference):
        return ""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"{top} {importlib.metadata.version(top)}"
    packages = importlib.metadata.packages_distributions().get(top, [])
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def digest(file: Path) -> str:
    """A hash of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def take(files: Mapping[str, str]) -> None:
    """Makes files that a driver has sent importable here.

    Args:
        files: their texts by path, relative to the folder that modules are looked for in.
    """
    known = hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:12]
    if not files or any(folder.name.endswith(known) for folder in _sent):
        return
    folder = Path(tempfile.mkdtemp(prefix="parts-", suffix=f"-{known}"))
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    _sent.insert(0, folder)
    sys.path.append(str(folder))
    importlib.invalidate_caches()


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
