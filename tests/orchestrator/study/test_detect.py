"""How many seeds a difference takes, from a real MLflow store, and what cannot be asked."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from orchestrator.errors import UsageError
from orchestrator.run import main
from orchestrator.study.detect import share, show_seeds_needed
from results.power import seeds_needed, spread
from tests.results.mlflow_store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("mlflow") / "mlflow.db")


def _told(store: Store, name: str, wanted: float) -> str:
    trials = [SimpleNamespace(variant=v, kind="variant") for v in ("baseline", "cosine", "wide")]
    out = io.StringIO()
    where = SimpleNamespace(tracking_uri=store.uri)
    show_seeds_needed(SimpleNamespace(name=name, trials=trials), where, wanted, Console(file=out, width=200))
    return out.getvalue()


def test_seeds_follow_from_the_spread_of_what_has_run(store: Store) -> None:
    study = store.study("spread")
    figures = {"baseline": (10.0, 11.0, 12.0), "cosine": (10.5, 10.0, 12.2)}
    for position, (variant, values) in enumerate(figures.items()):
        for seed, fid in enumerate(values):
            store.trial(study, variant, seed, {"fid": fid}, position=str(position))
    known = spread(np.array([*figures.values()]), log_scale=True)
    assert known is not None
    for wanted in (0.02, 0.3):
        needed = seeds_needed(known, known.of(wanted), variants=2)
        told = _told(store, "spread", wanted)
        assert f"to see {100 * wanted:g}% of the baseline's figure in 80% of studies of 2 variants" in told
        assert f"fid 11.00: {f'{needed} seeds' if needed else 'more than 100 seeds'} (SD {known.own:.1%}" in told
    assert "miou" not in told


def test_without_a_spread_there_is_no_answer(store: Store) -> None:
    store.trial(store.study("one-seed"), "baseline", 0, {"fid": 3.0})
    for name in ("one-seed", "never-run"):
        with pytest.raises(UsageError, match="--detect: no spread is known yet"):
            _told(store, name, 0.02)


@pytest.mark.parametrize("text", ["2", "0%", "100%", "-1%", "%", "two", ""])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--detect: must be a percentage"):
        share(text)
    assert share(" 2.5 % ") == pytest.approx(0.025)


def test_asked_of_a_storage_without_studies_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablations", "--detect", "2%", "--storage", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert "--detect: no spread is known yet" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
