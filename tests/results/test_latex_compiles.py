"""The LaTeX table as LaTeX reads it, with whatever is in a name, and with booktabs or without."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from results.latex import latex_table
from tests.results.studies import EVIL, digits_study, paper_study, summary_of, trial, with_trials

# Tectonic would fetch what it lacks from the network.
ENGINES = {
    "pdflatex": ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"],
    "tectonic": ["--only-cached", "--untrusted"],
}
ENGINE = next(filter(shutil.which, ENGINES), None)

pytestmark = pytest.mark.skipif(ENGINE is None, reason="there is neither pdflatex nor tectonic on this machine")


@pytest.mark.parametrize("package", ["", r"\usepackage{booktabs}"])
def test_the_table_compiles(tmp_path: Path, package: str) -> None:
    evil = trial(r"\input{x} ~^#$&%_{}" + EVIL, 0, 9, delta="[2cm] \\ <=>|", fid_digits=1.0)
    failed = trial("convnext", 7, 1, status="FAILED", error="MemoryError: 5 % of \\undefined")
    for name, trials in {"digits": with_trials(digits_study(), evil, failed), "paper": paper_study()}.items():
        table = latex_table(summary_of(trials), trials)
        text = rf"\documentclass{{article}}{package}\begin{{document}}" + f"\n{table}\n" + r"\end{document}"
        if package and ENGINE == "pdflatex" and not _has("booktabs.sty"):
            pytest.skip("this LaTeX has no booktabs")
        (tmp_path / f"{name}.tex").write_text(text, encoding="utf-8")
        assert ENGINE
        made = subprocess.run([ENGINE, *ENGINES[ENGINE], f"{name}.tex"], cwd=tmp_path, capture_output=True, timeout=120)
        assert made.returncode == 0, made.stdout.decode(errors="replace")[-2000:]
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def _has(file: str) -> bool:
    found = subprocess.run(["kpsewhich", file], capture_output=True)
    return found.returncode == 0
