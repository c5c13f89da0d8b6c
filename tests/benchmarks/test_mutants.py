"""What `make mutants` mutates: modules that are there, each with the tests that mirror it, and none left out."""

import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]
# Whose modules all compute figures.
WHOLE = ("trainables/diffusion", "trainables/unet", "trainables/evaluation")


@pytest.mark.parametrize("module", SETTINGS["tests"])
def test_a_module_and_its_tests_are_there(module: str) -> None:
    assert (ROOT / module).is_file()
    files = [word.split("::")[0] for word in shlex.split(SETTINGS["tests"][module]) if word.startswith("tests/")]
    assert files
    assert all((ROOT / file).exists() for file in files)


@pytest.mark.parametrize("folder", WHOLE)
def test_no_module_that_computes_figures_is_left_out(folder: str) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.py") if path.stem != "__init__"}
    assert modules
    assert modules <= SETTINGS["tests"].keys()


def test_what_is_imported_once_is_none_of_our_own() -> None:
    own = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {"orchestrator", "results", "search_spaces", "trainables"} <= own
    assert not own & {name.split(".")[0] for name in SETTINGS["libraries"]}
