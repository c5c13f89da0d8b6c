import io

import pytest
from matplotlib.figure import Figure

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.storage.locations import Locations
from orchestrator.study import session as sessions
from orchestrator.study.session import FAILED, OK, Session, makers_first
from results.shown import FILE, Shown
from search_spaces.spaces import ABLATIONS, SEGMENTATION


class Writer:
    """MLflow's, of which nothing is wanted."""

    def __init__(self):
        self.errors, self.remarks, self.trouble = [], [], ""

    def flush(self, limit_s=0.0):
        return True

    def close(self, limit_s):
        self.closed = True

    def finish(self, trial, result, pictures):
        self.pictures = pictures


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Makes a session of the study `mine` without MLflow."""
    monkeypatch.setattr(sessions, "_writer", lambda study, locations: Writer())
    monkeypatch.setattr(sessions.signals, "ignore", lambda: None)
    study = plan.build(Request(ABLATIONS, chosen=["baseline"], name="mine"))
    locations = Locations(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "store"))
    return lambda: Session(study, locations, io.StringIO())


def test_trials_that_train_a_ddpm_of_their_own_come_first(tiny):
    trials = plan.build(Request(SEGMENTATION, settings=tiny, chosen=["by_image", "one_member"], seeds=[0, 1])).trials
    ordered = makers_first(trials)
    assert sorted(t.name for t in ordered) == sorted(t.name for t in trials)
    assert [t.name for t in ordered[:4]] == ["baseline-seed0", "untrained-seed0", "baseline-seed1", "untrained-seed1"]


def test_what_a_killed_driver_left_of_tunes_is_cleared_and_nothing_else(session, tmp_path):
    folder = tmp_path / "studies" / "mine"
    for name in (".tune-x1/trials", "pictures/baseline-seed0"):
        (folder / name).mkdir(parents=True)
    (folder / ".tune-x1" / "trials" / "state.json").touch()
    session()
    assert [path.name for path in folder.iterdir()] == ["pictures"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("no such font")])
def test_a_trial_whose_pictures_cannot_be_drawn_is_done_all_the_same(session, monkeypatch, capsys, error):
    def figures(store, artefacts):
        raise error

    monkeypatch.setattr(sessions, "figures", figures)
    mine = session()
    result = {"artefacts": {}, "metrics": {"miou": 0.5}, "wall_time_s": {}}
    mine.recorded(mine.trials[0], {"result": result})
    assert mine.results["baseline-seed0"] == result
    assert mine.writer.pictures == {}
    assert "baseline-seed0: no pictures (" in capsys.readouterr().out


def _drawn_by(session, monkeypatch, calls):
    monkeypatch.setattr(sessions, "figures", lambda store, artefacts: calls.append("pictures") or {})
    monkeypatch.setattr(sessions, "shown", lambda store, artefacts: calls.append("page") or Shown())
    mine = session()
    (folder := mine._pictures(mine.trials[0])).mkdir(parents=True, exist_ok=True)
    mine._draw_missing(mine.trials[0])
    return mine, folder


def test_what_an_earlier_version_has_not_left_for_the_page_is_made_without_drawing_anew(session, monkeypatch):
    mine = session()
    (folder := mine._pictures(mine.trials[0])).mkdir(parents=True)
    (folder / sessions.DRAWN_OF).write_text(mine.trials[0].key)
    (folder / "samples.png").touch()
    calls = []
    _drawn_by(session, monkeypatch, calls)
    assert calls == ["page"]
    assert {path.name for path in folder.iterdir()} == {FILE, sessions.DRAWN_OF, "samples.png"}
    _drawn_by(session, monkeypatch, calls)
    assert calls == ["page"]  # nothing is missing


def test_pictures_of_another_trial_of_that_name_are_drawn_anew(session, monkeypatch, capsys):
    mine = session()
    (folder := mine._pictures(mine.trials[0])).mkdir(parents=True)
    (folder / sessions.DRAWN_OF).write_text("of another")
    (folder / "old.png").touch()
    monkeypatch.setattr(sessions, "save_pictures", lambda figures, folder: folder.mkdir() or {})
    calls = []
    _drawn_by(session, monkeypatch, calls)
    assert calls == ["pictures", "page"]
    assert {path.name for path in folder.iterdir()} == {FILE, sessions.DRAWN_OF}


def test_a_trial_of_which_nothing_can_be_shown_keeps_its_pictures(session, monkeypatch, capsys):
    def shown(store, artefacts):
        raise ValueError("no such samples")

    monkeypatch.setattr(sessions, "figures", lambda store, artefacts: {"samples": Figure()})
    monkeypatch.setattr(sessions, "shown", shown)
    mine = session()
    mine.recorded(mine.trials[0], {"result": {"artefacts": {}, "metrics": {"miou": 0.5}, "wall_time_s": {}}})
    assert list(mine.writer.pictures) == ["samples"]
    assert "baseline-seed0: nothing of it on the page (ValueError: no such samples)" in capsys.readouterr().out


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), UsageError("MLflow cannot read it")])
def test_a_report_that_cannot_be_written_loses_no_record(session, capsys, error):
    def show(writer):
        raise error

    mine = session()
    mine.results = {trial.name: {} for trial in mine.trials}
    assert mine.close(False, show) == FAILED
    assert mine.writer.closed
    out = capsys.readouterr().out
    assert "no report: " in out and "once that is mended, `python -m orchestrator.run report mine` makes it" in out


def test_a_remark_on_what_only_adorns_the_records_is_told_and_fails_no_study(session, capsys):
    mine = session()
    mine.results = {trial.name: {} for trial in mine.trials}
    mine.writer.remarks.append("MLflow, note: too long")
    assert mine.close(False, lambda writer: None) == OK
    assert "MLflow, note: too long" in capsys.readouterr().out
