"""Code of `__main__`, a notebook's cells or a script, as the text of a module that can be sent.

Of a class or function its source is taken, and whatever it names there with it: other classes and functions by their
source, imports as imports, and plain values as they are at that moment. IPython keeps the source of every cell.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from trainables import syntax
from trainables.own_parts import PartError

ALLOWED = "allowed: imports, classes, functions and plain values (numbers, texts, lists of them)"


def module_text(part: Any) -> str:
    """The text of a module that defines a class or function of `__main__`.

    Raises:
        PartError: its source, or that of something that it names, cannot be had.
    """
    names: dict[str, Any] = vars(sys.modules["__main__"])
    name = part.__name__
    if names.get(name) is not part:
        raise PartError(f"{name} stands for something else by now, or was deleted: hand over the newest")
    carried = _Carried(names)
    carried.add(name, name)
    return "\n".join([*sorted(carried.imports), "", *carried.body]).lstrip("\n")


class _Carried:
    """What has been gathered of `__main__`.

    Args:
        names: its own, with what they stand for.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names, self.texts = names, _texts(names)
        self.imports, self.body = set[str](), list[str]()
        self._done = set[str]()

    def add(self, name: str, user: str) -> None:
        """Takes in what a name stands for, after all that it needs itself.

        Args:
            user: who names it.
        """
        if name in self._done or name not in self.names or name.startswith("__"):
            return
        self._done.add(name)
        value = self.names[name]
        if getattr(value, "__module__", None) == "__main__" and isinstance(value, type | FunctionType):
            self._define(name, value)
        elif line := _import_of(name, value, self.texts):
            self.imports.add(line)
        elif _is_plain(value):
            self.body.append(f"{name} = {value!r}")
        else:
            raise PartError(f"{user} uses {name}, an object of {type(value).__name__}, which cannot be sent; {ALLOWED}")

    def _define(self, name: str, value: Any) -> None:
        own = value.__name__
        if own != name:  # another name for it
            self.add(own, name)
            self.body.append(f"{name} = {own}")
            return
        text, node = _source(value, self.texts)
        for used in sorted(set(_globals(symtable.symtable(text, name, "exec")))):
            self.add(used, name)
        self.body.append(text)
        self.body += _set_later(name, value, node)


def _texts(names: Mapping[str, Any]) -> list[str]:
    """What has been run as `__main__`, the newest first: the script, or IPython's cells."""
    script = names.get("__file__")
    if script and Path(script).is_file():
        return ["".join(linecache.getlines(str(script)))]
    cells = names.get("In")
    return [cell for cell in reversed(cells) if isinstance(cell, str)] if isinstance(cells, list) else []


def _import_of(name: str, value: Any, texts: list[str]) -> str:
    """The import that brings what the name stands for; "" where none does."""
    imports = [n for text in texts for n in ast.walk(_tree(text)) if isinstance(n, ast.Import | ast.ImportFrom)]
    if isinstance(value, ModuleType):
        if value.__name__ != name:
            return f"import {_as(value.__name__, name)}"
        dotted = [a.name for node in imports if isinstance(node, ast.Import) for a in node.names if not a.asname]
        return f"import {', '.join(sorted({name, *(d for d in dotted if d.startswith(f'{name}.'))}))}"
    for node in imports:
        source = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
        for alias in node.names if source else ():
            there = getattr(sys.modules.get(str(source)), alias.name, None)
            if (alias.asname or alias.name) == name and there is value:
                return f"from {source} import {_as(alias.name, name)}"
    module, own = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(own, str) and getattr(sys.modules.get(module), own, None) is value:
        return f"from {module} import {_as(own, name)}"
    return ""


def _as(own: str, name: str) -> str:
    return own if own == name else f"{own} as {name}"


def _is_plain(value: Any) -> bool:
    try:
        back = ast.literal_eval(repr(value))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return type(back) is type(value) and bool(back == value)


def _source(value: Any, texts: list[str]) -> tuple[str, ast.ClassDef | ast.FunctionDef]:
    """The source of a class or function, and its tree.

    Raises:
        PartError: there is none.
    """
    name = value.__name__
    for code in _codes(value):
        texts = ["".join(linecache.getlines(code.co_filename))]
        for text, node, first in _definitions(texts, name):
            if first <= code.co_firstlineno <= (node.end_lineno or first):
                return text, node
    for text, node, _ in _definitions(texts, name):
        if not isinstance(value, FunctionType):
            return text, node  # a class without a function in it says of no line that it is its own
    raise PartError(f"the source of {name} is not to be had: define it in a cell, a script or a file")


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function, or of those in a class."""
    inner = vars(value).values() if isinstance(value, type) else [value]
    for each in inner:
        function = inspect.unwrap(getattr(each, "__func__", None) or getattr(each, "fget", None) or each)
        own = not isinstance(value, type) or getattr(function, "__qualname__", "").startswith(f"{value.__name__}.")
        if isinstance(function, FunctionType) and own and linecache.getlines(function.__code__.co_filename):
            yield function.__code__


def _definitions(texts: list[str], name: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef, int]]:
    """The definitions of that name in the texts, the last of each first: text, tree and first line."""
    for text in texts:
        for node in reversed(list(syntax.statements(_tree(text).body))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                lines = text.splitlines()[first - 1 : node.end_lineno]
                yield textwrap.dedent("\n".join(lines)) + "\n", node, first


def _tree(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):  # a cell that never ran
        return ast.Module([], [])


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a definition takes from its module."""
    yield from (symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
    for inner in table.get_children():
        yield from _globals(inner)


def _set_later(name: str, value: Any, node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """Lines for the attributes that a function or class was given after its definition.

    Raises:
        PartError: one that is no plain value.
    """
    if node.decorator_list:
        return  # whatever set them runs again
    said = dict(pair for inner in node.body for pair in syntax.named(inner)) if isinstance(node, ast.ClassDef) else {}
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name) and inner.value:
            said[inner.target.id] = inner.value
    for attribute, now in vars(value).items():
        then = said.get(attribute)
        if attribute.startswith("_") or (then is not None and not isinstance(then, ast.Constant)):
            continue
        if isinstance(then, ast.Constant) and then.value == now:
            continue
        if not _is_plain(now):
            raise PartError(f"{name}.{attribute} was set after the definition of {name}: write it into the definition")
        yield f"{name}.{attribute} = {now!r}"
