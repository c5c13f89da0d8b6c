"""An MLflow store as the driver fills it, and a report as it lies in its folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from results.report import write
from results.trials import load_trials
from tests.results.mlflow_store import STUDY, Store
from tests.results.studies import (
    EVIL,
    STUDY_FILE,
    digits_study,
    picture,
    save_shown,
    shown_trial,
    summary_of,
    trial,
    with_trials,
)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("mlflow") / "runs.db")
    study = store.study(STUDY)
    convnext = {"position": "1", "delta": "unet.block=convnext"}
    control = {"kind": "control", "position": "3", "delta": "real images: the floor"}
    for seed, fid in ((2, 12.0), (0, 10.0), (1, 11.0)):
        cost = {"parameters": 1000.0, "wall_time_s": 60.0 + seed}
        store.trial(study, "baseline", seed, {"fid_digits": fid, "miou": 0.5, **cost}, trial_key=f"key-{seed}")
    store.trial(study, "convnext", 0, {"fid_digits": 8.0}, **convnext, status_note="resumed")
    store.trial(study, "convnext", 1, {"fid_digits": 8.8}, **convnext)
    store.trial(study, "convnext", 2, {"fid_digits": 3.0}, "FAILED", **convnext, error="MemoryError: no")
    store.trial(study, "adagn", 0, {}, "KILLED", position="2")
    store.trial(study, "adagn", 1, {}, "RUNNING", position="2")
    store.trial(study, "held-out", 0, {"fid_digits": 2.0}, **control)
    by_hand = store.client.create_run(study, run_name="tried something")
    store.client.set_terminated(by_hand.info.run_id)
    return store


@pytest.fixture(scope="session")
def trials(store: Store) -> pd.DataFrame:
    return load_trials(store.uri, STUDY)


def _probe(store: Store, study: str, block: int, timestep: int, seed: int, miou: float | None, **tags: str) -> None:
    params = {"segmentation.blocks": f"[{block}]", "segmentation.timesteps": f"[{timestep}]"}
    status = "FINISHED" if miou is not None else "FAILED"
    metrics = {} if miou is None else {"miou": miou}
    tags = {"kind": "probe", "position": "2", **tags}
    store.trial(study, f"block{block}-t{timestep}", seed, metrics, status, params, **tags)


@pytest.fixture(scope="session")
def probed(store: Store) -> pd.DataFrame:
    """A study with a heat map in which a cell has failed altogether, and another in one of its two seeds."""
    study = store.study("probed")
    for seed in (0, 1):
        params = {"segmentation.blocks": "[5, 10]", "segmentation.timesteps": "[50, 150]"}
        store.trial(study, "baseline", seed, {"miou": 0.6 + 0.1 * seed}, params=params)
        store.trial(study, "cosine", seed, {"miou": 0.7 + 0.1 * seed}, params=params, position="1")
        store.trial(study, "raw_pixels", seed, {"miou": 0.1}, params=params, position="0", kind="control")
        _probe(store, study, 10, 50, seed, 0.3 + 0.1 * seed)
        _probe(store, study, 5, 50, seed, 0.2)
        _probe(store, study, 10, 150, seed, 0.5 if seed else None, error="MemoryError")
        _probe(store, study, 5, 150, seed, None, error="OSError")
    return load_trials(store.uri, "probed")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A report with all that a page can have: pictures of some trials, a study file, a picture that is gone."""
    folder = tmp_path / "report"
    failed = trial(EVIL, 0, 9, delta=EVIL, status="FAILED", error="ValueError: a < b & c", status_note="resumed")
    trials = with_trials(digits_study(), failed)
    trials["git_commit"], trials["git_dirty"], trials["machine"] = "0123456789abcdef", "true", "node-1"
    for variant, seeds in {"baseline": (0, 1), "convnext": (0, 1), "held-out": (0,)}.items():
        for seed in seeds:
            save_shown(folder, variant, seed, shown_trial(seed=seed))
    (folder / "study.yaml").write_text(STUDY_FILE, encoding="utf-8")
    overview = {"the <map>": picture(tmp_path / "map.png"), "lost": tmp_path / "gone.png"}
    paths = write(summary_of(trials), trials, folder, study="digits & co", overview=overview)
    assert paths == [folder / name for name in ("table.csv", "table.md", "table.tex", "report.html")]
    return folder
