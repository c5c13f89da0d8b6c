"""The program is named as it was called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.program import called


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("python /x/bin/diffusion-ablations ablations", "diffusion-ablations"),
        ("python -I /x/bin/diffusion-ablations new mine", "diffusion-ablations"),
        ("python -m orchestrator.run report diffusion-ablations", "python -m orchestrator.run"),
        ("python study.py", "python -m orchestrator.run"),
        ("python", "python -m orchestrator.run"),
    ],
)
def test_the_name_is_what_was_typed(words: str, name: str) -> None:
    assert called(words.split()) == name


def test_the_installed_commands_usage_and_hints_name_it(tmp_path: Path, root: Path) -> None:
    script = tmp_path / "diffusion-ablations"  # as pip writes it
    script.write_text(f"import sys\nsys.path.append({str(root)!r})\nfrom orchestrator.script import main\nmain()\n")

    def said(*words: str) -> str:
        command = [sys.executable, str(script), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    for text in (said("--help"), said("report", "--help"), said("new", "mine")):
        assert "diffusion-ablations " in text and "orchestrator.run" not in text
