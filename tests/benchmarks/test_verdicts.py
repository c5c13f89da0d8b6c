"""The simulation of verdicts: its peers are what they are called, and its lines are printed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks import verdicts


@pytest.mark.parametrize(("df", "point"), [(8, 3.02), (16, 2.71), (28, 2.59)])
def test_dunnetts_point_is_the_published_one(df: int, point: float) -> None:
    assert verdicts.dunnett_point(4, df) == pytest.approx(point, abs=0.005)


def test_the_peers_say_what_scipys_tests_say() -> None:
    values = verdicts.drawn(np.random.default_rng(0), (200, 3, 5), np.ones(3), 0.3, skewed=False)
    values[:, 1] += 1.5
    said = verdicts.claims(values)
    p = stats.ttest_rel(values[:, 1:], values[:, :1], axis=-1).pvalue
    assert (said["pairs"] == (p <= 0.05)).all()
    assert 0 < said["Dunnett"][:, 0].mean() < 1


def test_each_kind_of_study_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["verdicts.py", "--studies", "50", "--seeds", "2", "3", "--variants", "2"])
    verdicts.main()
    lines = capsys.readouterr().out.splitlines()
    kinds = [line for line in lines if " shared, " in line]
    assert len(kinds) == 2 * len(verdicts.spreads(2)) * 2 * 2
    assert kinds[0].split("|")[1].split()[0] == "0.0%"  # two seeds claim nothing
    assert lines[-1].startswith("looks at 3, 4, ..., 10 seeds, 2 variants: ")
