"""Which source computes a figure: the definitions that a stage's code reaches by its imports, and a hash of them.

Modules are read as syntax trees and never imported. What is reached follows from names: a function, class or constant,
those that it names, and so on, inside this project. Comments, layout, docstrings, annotations and the words of errors
compute nothing and are left out. Of a table of parts, a dictionary by names at the top of a module, only those are
reached that a setting names: a sampler beside the one in use changes nothing.

What carries figures and computes none stays out: the plumbing. Settings enter a key by their values.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "trainables"
# A test holds that none of it computes a figure.
PLUMBING = {f"{PACKAGE}.{name}" for name in (
    "cache", "checkpoints", "claims", "config", "data.cache", "inputs", "network_cost", "progress", "sections",
    "source", "stages.stage", "store",
)}  # fmt: skip


@dataclass(frozen=True)
class Definition:
    """One name at the top of a module.

    Args:
        digest: of what it says.
        uses: the dotted names in it that may be definitions of ours.
        parts: of a table, its entries by name; a table has no digest and no uses of its own.
    """

    digest: str = ""
    uses: frozenset[str] = frozenset()
    parts: Mapping[str, Definition] = field(default_factory=dict)


def reached(names: Iterable[str], words: frozenset[str], without: frozenset[str] = frozenset()) -> dict[str, str]:
    """The digest of every definition that the code of `names` reaches, by its dotted name.

    Args:
        names: dotted names to begin from, each a function, a class or a whole module.
        words: the texts among a trial's settings, which choose from tables.
        without: modules that are known not to be called.

    Raises:
        LookupError: one of the names is not there.
    """
    found: dict[str, str] = {}
    waiting, seen = list(names), set[str]()
    for name in waiting:
        if _located(name) is None:
            raise LookupError(f"there is no {name} in {ROOT}")
    while waiting:
        dotted = waiting.pop()
        for module, name in _definitions(dotted):
            full = f"{module}.{name}"
            if full in seen or module in without:
                continue
            seen.add(full)
            definition = _parsed(module).definitions[name]
            for part, chosen in _chosen(full, definition, words):
                found[part] = chosen.digest
                waiting += chosen.uses
    return found


def file_of(name: str) -> str:
    """The file of a definition as a person names it: `unet/blocks.py` of `trainables.unet.blocks.Attention`."""
    located = _located(name.split("[")[0])
    file = _file(located[0]) if located else None
    return file.relative_to(ROOT / PACKAGE).as_posix() if file else name.split("[")[0]


def source_hash(found: Mapping[str, str]) -> str:
    """A hash of ten hexadecimal digits over all that was reached."""
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(found.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _chosen(full: str, definition: Definition, words: frozenset[str]) -> Iterator[tuple[str, Definition]]:
    """The definition, or of a table the parts that the words name; all of them where they name none."""
    if not definition.parts:
        yield full, definition
        return
    named = definition.parts.keys() & words or definition.parts.keys()
    for part in named:
        yield f"{full}[{part}]", definition.parts[part]


def _definitions(dotted: str) -> Iterator[tuple[str, str]]:
    """(module, name) of what a dotted name stands for; nothing for what is not ours or plumbing."""
    located = _located(dotted)
    if located is None:
        return
    module, rest = located
    parsed = _parsed(module)
    if not rest:  # the module itself is handed on: whoever has it may call all of it
        yield from ((module, name) for name in parsed.definitions)
    elif rest[0] in parsed.definitions:
        yield module, rest[0]
        yield from ((module, name) for name in parsed.effects)
    elif rest[0] in parsed.imports:  # from a package that passes it on
        yield from _definitions(".".join([parsed.imports[rest[0]], *rest[1:]]))


def _located(dotted: str) -> tuple[str, list[str]] | None:
    """The longest beginning that is a module of ours, and the rest; None for other modules and for plumbing."""
    parts = dotted.split(".")
    if parts[0] != PACKAGE:
        return None
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if _file(module) is not None:
            return None if module in PLUMBING else (module, parts[length:])
    return None


@cache
def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


@dataclass(frozen=True)
class _Module:
    definitions: Mapping[str, Definition]
    imports: Mapping[str, str]  # a name in the module -> the dotted name that it stands for
    effects: tuple[str, ...]  # names of statements that are no definition, and run with the module


@cache
def _parsed(module: str) -> _Module:
    file = _file(module)
    assert file is not None
    tree = _Plain().visit(ast.parse(file.read_bytes()))
    body = list(_flat(tree.body))
    imports = _imports(body, module, package=file.name == "__init__.py")
    own = {name for node in body for name, _ in _named(node)}
    definitions: dict[str, Definition] = {}
    effects = []
    for number, node in enumerate(body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        pairs = list(_named(node))
        if not pairs:
            pairs = [(f"<statement {number}>", node)]
            effects.append(pairs[0][0])
        for name, part in pairs:
            definitions[name] = _definition(part, module, own, imports)
    for data in _data(file):
        name = f"<{data.name}>"
        definitions[name] = Definition(hashlib.sha256(data.read_bytes()).hexdigest()[:16])
        effects.append(name)
    return _Module(definitions, imports, tuple(effects))


def _data(file: Path) -> list[Path]:
    """What a package brings beside its modules, weights for example: its code computes with it."""
    if file.name != "__init__.py":
        return []
    return sorted(f for f in file.parent.iterdir() if f.is_file() and f.suffix not in (".py", ".pyc", ".md"))


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module; what is for type checkers alone is left out, other branches are looked into."""
    for node in body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.If | ast.Try):
            blocks = [node.body, node.orelse, *(handler.body for handler in getattr(node, "handlers", []))]
            for block in blocks:
                yield from _flat(block)
        else:
            yield node


def _named(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """The names that a statement defines, each with the part of it that is its own."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple):
                values = [node.value] * len(target.elts)
                if isinstance(node.value, ast.Tuple) and len(node.value.elts) == len(values):
                    values = node.value.elts
                yield from ((e.id, v) for e, v in zip(target.elts, values, strict=True) if isinstance(e, ast.Name))


def _definition(node: ast.AST, module: str, own: set[str], imports: Mapping[str, str]) -> Definition:
    if isinstance(node, ast.Dict) and node.keys and all(_is_text(key) for key in node.keys):
        names = [str(key.value) for key in node.keys if isinstance(key, ast.Constant)]
        values = [_whole(value, module, own, imports) for value in node.values]
        return Definition(parts=dict(zip(names, values, strict=True)))
    return _whole(node, module, own, imports)


def _whole(node: ast.AST, module: str, own: set[str], imports: Mapping[str, str]) -> Definition:
    inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
    known = {**{name: f"{module}.{name}" for name in own}, **imports, **_imports(inner, module, package=False)}
    digest = hashlib.sha256("".join(_words(node)).encode()).hexdigest()[:16]
    return Definition(digest, frozenset(_uses(node, known)))


def _is_text(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and isinstance(key.value, str)


def _imports(nodes: Iterable[ast.AST], module: str, package: bool) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + package] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names |= {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names}
    return names


def _uses(node: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
    """The dotted names in a definition, resolved as far as its imports tell."""
    if isinstance(node, ast.Attribute):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in known:
            yield ".".join([known[inner.id], *reversed(parts)])
            return
    elif isinstance(node, ast.Name) and node.id in known:
        yield known[node.id]
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, known)


class _Plain(ast.NodeTransformer):
    """Takes away what computes nothing: docstrings, annotations, and the words of errors."""

    def _with_body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and _is_text(first.value):
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node

    visit_Module = visit_ClassDef = _with_body

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._with_body(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        # Without a value it declares a field: its name stays.
        value = node.value or ast.Constant(value=...)
        return self.visit(ast.Assign(targets=[node.target], value=value))

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        self.generic_visit(node)
        return node


def _words(node: object) -> Iterator[str]:
    """What a tree says, in an order of its own: `ast.dump` differs between versions of Python."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if name not in ("ctx", "kind", "type_comment", "type_params") and value not in (None, []):
                yield f" {name}="
                yield from _words(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for part in node:
            yield from _words(part)
            yield ","
        yield "]"
    else:
        yield repr(node)
