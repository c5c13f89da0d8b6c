"""Parts of a person's own: what a setting names as `file.py:Name` or `package.module:Name`. Imports no torch."""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from trainables.own_modules import imported, told
from trainables.own_places import PartError as PartError
from trainables.own_places import file_at, files_beside, folder_of, modules_at_hand

FILE = r"(?:[\w-][\w.-]*/)*[\w-]+\.py"
MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
REFERENCE = re.compile(rf"(?P<module>{FILE}|{MODULE}):(?P<name>[A-Za-z_]\w*)")
FORMS = "file.py:Name in the current folder or below it, no space in its path, or package.module:Name"

T = TypeVar("T")


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
            where = f"neither in {Path.cwd()} nor installed"
            raise PartError(f"{reference}: there is no module {top}, {where}{meant(top, modules_at_hand())}")
        return
    file = file_at(name)
    if file is None:
        raise PartError(f"{reference}: there is no file {name} in {Path.cwd()}{meant(name, files_beside(name))}")
    try:
        ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise PartError(f"{reference}: {name} is no Python ({error.msg}, line {error.lineno})") from None
    except (OSError, ValueError) as error:
        raise PartError(f"{reference}: {name} cannot be read as text ({error})") from None


def meant(name: str, known: Iterable[str]) -> str:
    """What a person may have meant by a name that is not there, in words; "" where nothing is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def load(reference: str) -> Any:
    """The part itself, imported.

    Raises:
        PartError: no such file, module or name, or importing it fails.
    """
    found = REFERENCE.fullmatch(reference)
    assert found is not None
    module = imported(found["module"])
    if not hasattr(module, found["name"]):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        has = f"; it has {', '.join(sorted(own)) or 'nothing that can be called'}"
        raise PartError(f"{reference}: there is no {found['name']} in it{meant(found['name'], dir(module)) or has}")
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


def version_of(reference: str) -> str:
    """The installed package and version that a part is of, `diffusers 0.36.0`; "" where it is of none."""
    top = reference.partition(":")[0].partition(".")[0]
    if not is_reference(reference):
        return ""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"{top} {importlib.metadata.version(top)}"
    packages = importlib.metadata.packages_distributions().get(top, [])
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
