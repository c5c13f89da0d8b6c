"""Files of the person's that Python would import in place of ours: told before anything is imported."""

import os
import subprocess
import sys

import pytest

from orchestrator.shadows import LIBRARIES, PACKAGES, shadows


@pytest.mark.parametrize("path", ["results.py", "trainables/__init__.py", "ray.py", "random.py"])
def test_a_file_that_hides_a_module_is_told_in_one_line(path, root, tmp_path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("raise SystemExit('not this one')")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.run", "ablations", "--dry-run"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = f"error: {tmp_path / path} hides a module of this program; rename it, or use another folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_folders_of_results_and_other_files_hide_nothing(root, tmp_path):
    for name in ("results", "mlflow", "ray"):
        (tmp_path / name).mkdir()
    (tmp_path / "analysis.py").touch()
    assert shadows(tmp_path, root) == []
    assert shadows(root, root) == []


def test_every_package_of_this_program_is_looked_for(root):
    assert {path.parent.name for path in root.glob("*/__init__.py")} == {*PACKAGES, "orchestrator"}
    assert all(name.isidentifier() for name in LIBRARIES)
