"""What a module's syntax tree says, without what computes nothing: names, imports, and the words of its code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping


def plain(tree: ast.Module) -> ast.Module:
    """The tree without docstrings, annotations and the words of errors; it is changed itself."""
    kept: ast.Module = _Plain().visit(tree)
    return kept


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, of branches too, with what chooses them; what is for type checkers is left out."""
    for node in body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.If | ast.Try):
            if isinstance(node, ast.If):
                yield ast.Expr(node.test)
            blocks = [node.body, node.orelse, *(handler.body for handler in getattr(node, "handlers", []))]
            for block in blocks:
                yield from statements(block)
        else:
            yield node


def named(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """The names that a statement defines, each with the part of it that is its own."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple):
                names = [e.value if isinstance(e, ast.Starred) else e for e in target.elts]
                values = [node.value] * len(names)
                if isinstance(node.value, ast.Tuple) and len(node.value.elts) == len(values) and names == target.elts:
                    values = node.value.elts
                yield from ((e.id, v) for e, v in zip(names, values, strict=True) if isinstance(e, ast.Name))


def is_text(key: ast.expr | None) -> bool:
    """Whether it is a text as it stands."""
    return isinstance(key, ast.Constant) and isinstance(key.value, str)


def imports(nodes: Iterable[ast.AST], module: str, package: bool) -> dict[str, str]:
    """The names that imports bring, each with the dotted name that it stands for.

    Args:
        package: whether the module is a package's `__init__`.
    """
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
            for alias in node.names:  # what `import *` brings has no names here: each stands under its module's
                name = f"*{source}" if alias.name == "*" else alias.asname or alias.name
                names[name] = f"{source}.{alias.name}"
    return names


def uses(node: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
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
        yield from uses(child, known)


class _Plain(ast.NodeTransformer):
    """Takes away what computes nothing: docstrings, annotations, and the words of errors."""

    def _with_body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and is_text(first.value):
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


def said(node: object) -> Iterator[str]:
    """What a tree says, in an order of its own: `ast.dump` differs between versions of Python."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if name not in ("ctx", "kind", "type_comment", "type_params") and value not in (None, []):
                yield f" {name}="
                yield from said(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for part in node:
            yield from said(part)
            yield ","
        yield "]"
    else:
        yield repr(node)
