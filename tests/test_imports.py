"""Imports point one way: between the packages, and down the floors within each of them."""

import ast
from pathlib import Path

import pytest

FORBIDDEN = {
    "trainables": {"ray", "mlflow", "orchestrator", "search_spaces", "results"},
    "search_spaces": {"ray", "mlflow", "orchestrator", "results", "torch"},
    "results": {"ray", "torch", "orchestrator", "search_spaces", "trainables"},
}
# Each package's rooms and modules from the top floor down; what stands on one floor may not import its neighbours.
FLOORS = {
    "orchestrator": [
        {"script"},
        {"run", "from_python"},
        {"arguments"},
        {"usage"},
        {"study"},
        {"preflight"},
        {"storage", "tracking", "new"},
        {"planning"},
        {"cluster"},
        {"signals", "streams", "shadows", "console", "errors", "program"},
    ],
    "trainables": [
        {"pipeline"},
        {"stages"},
        {"training", "sampling", "evaluation", "network_cost"},
        {"unet", "diffusion"},
        {"data"},
        {"canonical", "checkpoints", "claims"},
        {"store"},
        {"cache", "determinism", "finite", "images", "inputs", "progress", "randomness", "source", "training_rates"},
        {"config"},
        {"contradictions"},
        {"sections"},
        {"own_parts"},
        {"own_modules"},
        {"own_places", "syntax"},
    ],
    "search_spaces": [{"spaces"}, {"presets", "segmentation", "ablations", "tuning", "designs"}],
}
PACKAGES = (*FLOORS, "results")


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str:
    """The folder or module right below the package: `study` of `orchestrator.study.session.Session`."""
    return name.split(".")[1]


def modules(root: Path, package: str) -> dict[str, Path]:
    """Each module's file by its dotted name."""
    found = {".".join(f.relative_to(root).with_suffix("").parts): f for f in (root / package).rglob("*.py")}
    assert found
    return {name.removesuffix(".__init__"): file for name, file in found.items()}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_package_imports_what_stands_above_it(package: str, root: Path) -> None:
    found = {name: {i.split(".")[0] for i in imported(f)} for name, f in modules(root, package).items()}
    assert not {name: used & FORBIDDEN[package] for name, used in found.items() if used & FORBIDDEN[package]}


@pytest.mark.parametrize("package", FLOORS)
def test_a_rooms_arrows_point_down_only(package: str, root: Path) -> None:
    floor = {name: number for number, names in enumerate(FLOORS[package]) for name in names}
    upward = [
        f"{name} imports {used}"
        for name, file in modules(root, package).items()
        if name != package
        for used in imported(file)
        if used.startswith(f"{package}.") and room(used) != room(name) and floor[room(used)] <= floor[room(name)]
    ]
    assert not upward


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str, root: Path) -> None:
    known = modules(root, package)
    # `from a.b import c` is a use of the module a.b.c, or else of a.b.
    arrows = {
        name: {used if used in known else used.rpartition(".")[0] for used in imported(file)} & known.keys() - {name}
        for name, file in known.items()
    }
    while arrows:
        leaves = {name for name, used in arrows.items() if not used}
        assert leaves, f"a circle among {sorted(arrows)}"
        arrows = {name: used - leaves for name, used in arrows.items() if name not in leaves}


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_read_in_one_sitting_and_have_names_that_say_what_is_in_them(package: str, root: Path) -> None:
    # The recipe of the digits' classifier is a script, kept as it was run.
    files = [f for f in (root / package).rglob("*.py") if f.parent.name != "digits_classifier"]
    assert not {str(f): n for f in files if (n := len(f.read_text().splitlines())) > 320}
    unreadable = {"looks", "room", "place", "conditions", "words", "sheet", "utils", "helper", "helpers", "manager"}
    assert not unreadable & {f.stem for f in files}
