"""Which source computes a figure: the definitions that a stage's code reaches by its imports, and a hash of them.

Modules are read as syntax trees and never imported. What is reached follows from names: a function, class or constant,
those that it names, and so on, inside this project and a person's own modules. Comments, layout, docstrings,
annotations and the words of errors compute nothing and are left out. Of a table of parts, a dictionary by names at the
top of a module, only those are reached that a setting names: a sampler beside the one in use changes nothing.

What carries figures and computes none stays out: the plumbing. Settings enter a key by their values.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from trainables import own_parts, own_places, syntax

ROOT = Path(__file__).parent.parent
PACKAGE = "trainables"
# A test holds that none of it computes a figure.
PLUMBING = {f"{PACKAGE}.{name}" for name in (
    "cache", "checkpoints", "claims", "config", "contradictions", "data.cache", "inputs", "network_cost", "own_modules",
    "own_parts", "own_places", "progress", "sections", "source", "stages.stage", "store", "syntax",
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
        if _located(name) is not None:
            continue
        if not (version := own_parts.version_of(name)):
            raise LookupError(f"there is no {name} in {ROOT}")
        found[name] = version  # an installed package's
    while waiting:
        dotted = waiting.pop()
        for module, name in _definitions(dotted):
            full = _joined(module, name)
            if full in seen or module in without:
                continue
            seen.add(full)
            definition = _parsed(module).definitions[name]
            for part, chosen in _chosen(full, definition, words):
                found[part] = chosen.digest
                waiting += chosen.uses
    return found


def own_files(references: Iterable[str]) -> dict[str, str]:
    """The texts of all files of a person's own that these parts import, by their paths from where they are imported.

    Raises:
        LookupError: a part whose module is not there.
    """
    found: dict[str, str] = {}
    waiting = [reference.partition(":")[0] for reference in references]
    seen = set[str]()
    while waiting:
        module = waiting.pop()
        located = _located(f"{module}:x" if module.endswith(".py") else module)
        if module in seen or located is None or located[0].partition(".")[0] == PACKAGE:
            continue
        seen |= {module, located[0]}
        file = _module_file(located[0])
        assert file is not None
        path = module if module.endswith(".py") else file.relative_to(_folder_of(module)).as_posix()
        if path not in found:
            found[path] = file.read_text(encoding="utf-8")
            tree = ast.parse(found[path])
            imported = syntax.imports(ast.walk(tree), located[0], package=file.name == "__init__.py")
            waiting += imported.values()
        waiting += [module.rpartition(".")[0]] if "." in module and not module.endswith(".py") else []
    return found


def file_of(name: str) -> str:
    """The file of a definition as a person names it: `unet/blocks.py` of `trainables.unet.blocks.Attention`."""
    located = _located(name.split("[")[0])
    if located is None:
        return name.split("[")[0]
    module = located[0]
    if module.endswith(".py"):
        return module
    file = _module_file(module)
    assert file is not None
    ours = module.partition(".")[0] == PACKAGE
    return file.relative_to(ROOT / PACKAGE if ours else _folder_of(module)).as_posix()


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
    if rest and rest[0] in parsed.imports:  # from a package that passes it on
        yield from _definitions(".".join([parsed.imports[rest[0]], *rest[1:]]))


def _located(dotted: str) -> tuple[str, list[str]] | None:
    """The longest beginning that is a module of ours or a person's, and the rest; None for others and for plumbing."""
    beginning, colon, name = dotted.partition(":")
    if beginning.endswith(".py"):
        return (beginning, name.split(".")) if own_places.file_at(beginning) else None
    words = (f"{beginning}.{name}" if colon else dotted).split(".")
    if words[0] != PACKAGE and own_places.folder_of(words[0]) is None:
        return None
    for length in range(len(words), 0, -1):
        module = ".".join(words[:length])
        if _module_file(module) is not None:
            return None if module in PLUMBING else (module, words[length:])
    return None


def _joined(module: str, name: str) -> str:
    """The dotted name of what a module defines; a file's has a colon, as a person writes it."""
    return f"{module}:{name}" if module.endswith(".py") else f"{module}.{name}"


def _module_file(module: str) -> Path | None:
    """The file of a module of ours or the person's; None where there is none."""
    if module.endswith(".py"):
        return own_places.file_at(module)
    return _file(module) if module.partition(".")[0] == PACKAGE else _in(_folder_of(module), module)


def _folder_of(module: str) -> Path:
    folder = own_places.folder_of(module.partition(".")[0])
    assert folder is not None
    return folder


@cache
def _file(module: str) -> Path | None:
    return _in(ROOT, module)


def _in(folder: Path, module: str) -> Path | None:
    path = folder.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


@dataclass(frozen=True)
class _Module:
    definitions: Mapping[str, Definition]
    imports: Mapping[str, str]  # a name in the module -> the dotted name that it stands for
    effects: tuple[str, ...]  # names of statements that are no definition, and run with the module


def _parsed(module: str) -> _Module:
    file = _module_file(module)
    assert file is not None
    # Ours does not change under a running process; a person's may, in a notebook.
    return _read(module, file, "" if module.partition(".")[0] == PACKAGE else own_places.digest(file))


@cache
def _read(module: str, file: Path, digest: str) -> _Module:
    body = list(syntax.statements(syntax.plain(ast.parse(file.read_bytes())).body))
    imported = syntax.imports(body, module, package=file.name == "__init__.py")
    own = {name for node in body for name, _ in syntax.named(node)}
    definitions: dict[str, Definition] = {}
    effects = []
    for number, node in enumerate(body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        pairs = list(syntax.named(node))
        if not pairs:
            pairs = [(f"<statement {number}>", node)]
            effects.append(pairs[0][0])
        for name, part in pairs:
            found = _definition(part, module, own, imported)
            definitions[name] = _both(definitions[name], found) if name in definitions else found
    for data in _data(file):
        name = f"<{data.name}>"
        definitions[name] = Definition(hashlib.sha256(data.read_bytes()).hexdigest()[:16])
        effects.append(name)
    return _Module(definitions, imported, tuple(effects))


def _both(one: Definition, other: Definition) -> Definition:
    """Of a name that is defined twice, in two branches for example, both count."""
    whole = [part for each in (one, other) for part in (each.parts.values() if each.parts else [each])]
    digest = hashlib.sha256(" ".join(part.digest for part in whole).encode()).hexdigest()[:16]
    return Definition(digest, frozenset().union(*(part.uses for part in whole)))


def _data(file: Path) -> list[Path]:
    """What a package of ours brings beside its modules, weights for example: its code computes with it."""
    if file.name != "__init__.py" or not file.is_relative_to(ROOT / PACKAGE):
        return []
    return sorted(f for f in file.parent.iterdir() if f.is_file() and f.suffix not in (".py", ".pyc", ".md"))


def _definition(node: ast.AST, module: str, own: set[str], imported: Mapping[str, str]) -> Definition:
    if isinstance(node, ast.Dict) and node.keys and all(syntax.is_text(key) for key in node.keys):
        names = [str(key.value) for key in node.keys if isinstance(key, ast.Constant)]
        values = [_whole(value, module, own, imported) for value in node.values]
        return Definition(parts=dict(zip(names, values, strict=True)))
    return _whole(node, module, own, imported)


def _whole(node: ast.AST, module: str, own: set[str], imported: Mapping[str, str]) -> Definition:
    inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
    known = {**{name: _joined(module, name) for name in own}, **imported}
    known |= syntax.imports(inner, module, package=False)
    digest = hashlib.sha256("".join(syntax.said(node)).encode()).hexdigest()[:16]
    used = set(syntax.uses(node, known))
    # What is imported, or defined here where that fails, may be either.
    used |= {_joined(module, name) for name in own & imported.keys() if imported[name] in used}
    # Of a module whose names `import *` brings all may be used.
    used |= {name.removesuffix(".*") for name in known.values() if name.endswith(".*")}
    # Our own modules know none of a person's.
    ours = module.partition(".")[0] == PACKAGE
    return Definition(digest, frozenset(name for name in used if not ours or name.partition(".")[0] == PACKAGE))
