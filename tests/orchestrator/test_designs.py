"""A design after a study of one at a time, with real Ray and MLflow: what is stored is not made again."""

import csv

import pytest

from orchestrator.run import main


def test_a_factorial_trains_the_combination_alone_and_its_report_has_the_effects(commands, tmp_path, capsys):
    before = commands(tmp_path / "runs", "--variants", "adagn", "cosine").run()
    assert before.returncode == 0, before.stdout + before.stderr
    words = ["--design", "factorial", "--components", "adagn", "cosine", "--name", "crossed"]
    done = commands(tmp_path / "runs", *words).run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "design factorial: 4 cells of adagn, cosine, the baseline among them" in done.stdout
    assert "study crossed: 7 trials: 6 in the store, to be recorded, 1 to run" in done.stdout

    folder = tmp_path / "runs" / "studies" / "crossed"
    table = {(r["variant"], r["metric"]): r for r in csv.DictReader((folder / "table.csv").open())}
    rows = list(csv.DictReader((folder / "effects.csv").open()))
    for row in (row for row in rows if row["metric"] == "fid_digits"):
        sign = {"adagn": (-1, 1, -1, 1), "cosine": (-1, -1, 1, 1), "adagn × cosine": (1, -1, -1, 1)}[row["effect"]]
        cells = [float(table[cell, "fid_digits"]["mean"]) for cell in ("baseline", "adagn", "cosine", "adagn+cosine")]
        assert float(row["estimate"]) == pytest.approx(sum(s * c for s, c in zip(sign, cells, strict=True)) / 2)
        assert (row["p"], row["verdict"]) == ("", "no residual: no uncertainty")
    assert (folder / "pictures" / "effects.png").stat().st_size > 1000
    assert "Effects of the components" in (folder / "table.md").read_text()

    capsys.readouterr()
    assert main(["report", "crossed", "--storage", str(tmp_path / "runs")]) == 0
    assert "Effects of the components" in capsys.readouterr().out
