"""Imports point one way: orchestrator -> search_spaces -> trainables; results stands alone."""

import ast
from pathlib import Path

import pytest

FORBIDDEN = {
    "trainables": {"ray", "mlflow", "orchestrator", "search_spaces", "results"},
    "search_spaces": {"ray", "mlflow", "orchestrator", "results", "torch"},
    "results": {"ray", "torch", "orchestrator", "search_spaces", "trainables"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_package_imports_what_stands_above_it(package: str, root: Path) -> None:
    files = list((root / package).rglob("*.py"))
    assert files
    found = {str(f.relative_to(root)): imported(f) & FORBIDDEN[package] for f in files}
    assert not {f: names for f, names in found.items() if names}
