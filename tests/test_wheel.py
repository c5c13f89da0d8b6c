"""The wheel, installed where nothing else of this project is: it has all that it needs, and the command is the same."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

SOURCES = ("orchestrator", "search_spaces", "trainables", "results", "pyproject.toml", "README.md", "LICENSE")


def ran(line, cwd):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=250, check=False)


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """The wheel, built without a network from a copy of the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, folder / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder / "wheel")]
    done = ran([sys.executable, "-m", "pip", "wheel", *options, str(folder)], folder)
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "wheel").iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of the commands of an environment with the wheel, and with the libraries of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    options = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    done = ran([sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)], folder)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


@pytest.fixture
def empty(tmp_path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_the_wheel_holds_every_file_of_the_packages(wheel, root):
    tracked = [p for name in SOURCES[:4] for p in (root / name).rglob("*") if p.is_file()]
    wanted = {p.relative_to(root).as_posix() for p in tracked if "__pycache__" not in p.parts}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert "trainables/evaluation/digits_classifier/weights.safetensors" in wanted
    assert "orchestrator/new/template/study.yaml" in wanted
    assert wanted <= held
    assert {name.partition("/")[0] for name in held if ".dist-info" not in name} == set(SOURCES[:4])


def test_the_installed_command_plans_from_an_empty_folder(installed, empty):
    where = ran([installed / "python", "-c", "import orchestrator; print(orchestrator.__file__)"], empty)
    assert where.stdout.startswith(str(installed.parent))
    done = ran([installed / "diffusion-ablations", "ablations", "--dry-run"], empty)
    assert done.returncode == 0, done.stderr
    assert "baseline-seed0" in done.stdout
    assert not list(empty.iterdir())


def test_the_installed_command_makes_a_new_folder(installed, empty):
    done = ran([installed / "diffusion-ablations", "new", "mine"], empty)
    assert done.returncode == 0, done.stderr
    assert (empty / "mine" / "my_block.py").exists()
    assert done.stdout.endswith("next: cd mine && diffusion-ablations ablations study.yaml --dry-run\n")


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["ablations", "--variants", "x"], 2), (["report", "none"], 2)]
)
def test_it_answers_as_the_module_does(words, code, installed, empty):
    script = ran([installed / "diffusion-ablations", *words], empty)
    module = ran([installed / "python", "-m", "orchestrator.run", *words], empty)
    said = module.stdout.replace("python -m orchestrator.run", "diffusion-ablations")  # as each was called
    assert (script.returncode, script.stdout, script.stderr) == (module.returncode, said, module.stderr)
    assert script.returncode == code


def test_it_refuses_a_file_that_hides_a_module_before_it_imports(installed, empty):
    (empty / "ray.py").write_text("raise SystemExit('not this one')")
    done = ran([installed / "diffusion-ablations", "ablations", "--dry-run"], empty)
    said = f"error: {empty / 'ray.py'} hides a module of this program; rename it, or use another folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
