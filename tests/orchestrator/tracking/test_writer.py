"""The writer to MLflow, against a real SQLite store."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.tracking.experiment import NOTE
from orchestrator.tracking.records import BEGIN, END, note
from orchestrator.tracking.writer import MLflowWriter
from results.alpha_spending import TAG, Looks, from_text
from results.trials import load_trials
from search_spaces.spaces import ABLATIONS
from trainables.stages import whole_code

RESULT = {
    "metrics": {"fid_digits": 12.5, "miou": 0.5},
    "artefacts": {},
    "wall_time_s": {"ddpm": 3.0, "fid": 1.0},
    "gpu_s": 0.0,
    "machine": "here, cpu",
    "made_with": "cpu, 1 thread, torch 2.11.0",
    "note": "",
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    # Creating the database takes seconds; the tests keep apart by the names of their studies.
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def study(tiny, name, settings=None):
    settings = tiny | (settings or {})
    return plan.build(Request(ABLATIONS, settings=settings, chosen=["cosine"], name=name))


def opened(uri, study):
    return MLflowWriter(uri, study, Path(uri.removeprefix("sqlite:///")).parent / "artifacts")


def runs(uri, name):
    client = MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name(name).experiment_id])


def test_a_finished_trial_is_one_run_with_our_params_metrics_and_tags(uri, tiny, tmp_path):
    mine = study(tiny, "finished")
    picture = tmp_path / "samples.png"
    picture.write_bytes(b"png")
    tracking, trial = opened(uri, mine), mine.trials[1]
    tracking.start(trial)
    for step in (1, 2):
        tracking.log(trial, [(step, {"loss": 1 / step})])
    tracking.finish(trial, RESULT, {"samples": picture})
    tracking.close()
    assert tracking.errors == []
    (run,) = runs(uri, "finished")
    assert run.info.run_name == "cosine-seed0"
    assert run.info.status == "FINISHED"
    assert run.data.params["diffusion.beta_schedule"] == "cosine"
    assert run.data.params["unet.channel_mults"] == "[1, 2]"
    assert set(run.data.metrics) == {
        "loss", "fid_digits", "miou", "parameters", "forward_flops",
        "ddpm_wall_time_s", "fid_wall_time_s", "wall_time_s",
    }  # fmt: skip
    assert run.data.metrics["wall_time_s"] == 4.0
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
    assert tags | {"git_commit": "", "git_dirty": ""} == {
        "variant": "cosine", "seed": "0", "kind": "variant", "position": "1", "machine": "here, cpu", "error": "",
        "delta": "diffusion.beta_schedule=cosine", "trial_key": trial.key, "superseded": "false",
        "status_note": "", "code": whole_code(), "accepted_code": "", "made_with": "cpu, 1 thread, torch 2.11.0",
        "git_commit": "", "git_dirty": "", "remarks": "; ".join(trial.remarks),
    }  # fmt: skip
    artifacts = {a.path for a in MlflowClient(uri).list_artifacts(run.info.run_id)}
    assert artifacts == {"pictures", "config.json", "result.json", "study.yaml"}
    kept = MlflowClient(uri).download_artifacts(run.info.run_id, "study.yaml", str(tmp_path))
    assert Path(kept).read_text() == mine.as_file


def test_a_file_of_the_study_lies_beside_its_runs(uri, tiny, tmp_path):
    (tmp_path / "study.yaml").write_text("name: kept\n")
    tracking = opened(uri, study(tiny, "kept"))
    tracking.keep(tmp_path / "study.yaml")
    tracking.close()
    assert (tracking.errors, tracking.remarks) == ([], [])
    place = MlflowClient(uri).get_experiment_by_name("kept").artifact_location
    assert Path(place.removeprefix("file://"), "study.yaml").read_text() == "name: kept\n"


def test_a_trial_that_goes_on_stays_in_its_run_without_a_step_twice(uri, tiny):
    mine = study(tiny, "goes-on")
    trial = mine.trials[0]
    for first_step in (1, 2, 1):
        tracking = opened(uri, mine)
        tracking.start(trial)
        for step in range(first_step, first_step + 3):
            tracking.log(trial, [(step, {"loss": float(step)})])
        tracking.kill(trial)
        tracking.close()
    (run,) = runs(uri, "goes-on")
    assert run.info.status == "KILLED"
    steps = [m.step for m in MlflowClient(uri).get_metric_history(run.info.run_id, "loss")]
    assert sorted(steps) == [1, 2, 3, 4]


def test_what_a_trial_tells_again_in_one_session_is_written_once(uri, tiny):
    mine = study(tiny, "tells-again")
    trial = mine.trials[0]
    tracking = opened(uri, mine)
    tracking.start(trial)
    for step in (1, 2, 3, 1, 2, 3, 4):  # a retry goes on from a checkpoint
        tracking.log(trial, [(step, {"loss": float(step)}), (step, {"grad": 1.0})])
    tracking.log(trial, [(2, {"loss": 2.0}), (5, {"loss": 5.0})])
    tracking.close()
    (run,) = runs(uri, "tells-again")
    for metric, steps in (("loss", [1, 2, 3, 4, 5]), ("grad", [1, 2, 3, 4])):
        assert [m.step for m in MlflowClient(uri).get_metric_history(run.info.run_id, metric)] == steps


def test_a_failed_trial_says_why_and_a_later_success_clears_it(uri, tiny):
    mine = study(tiny, "fails")
    trial = mine.trials[0]
    tracking = opened(uri, mine)
    tracking.start(trial)
    tracking.fail(trial, "Diverged: at step 3")
    tracking.flush()
    (run,) = runs(uri, "fails")
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "Diverged: at step 3")
    assert tracking.finished() == set()
    tracking.start(trial)
    tracking.finish(trial, RESULT, {})
    tracking.flush()
    assert tracking.finished() == {(("baseline", 0), trial.key)}
    tracking.close()
    (run,) = runs(uri, "fails")
    assert (run.info.status, run.data.tags["error"]) == ("FINISHED", "")


def test_a_run_of_the_same_name_and_another_config_is_marked_not_mixed_in(uri, tiny):
    for dropout in (0.1, 0.2):
        new = [("mine", {"unet.dropout": dropout})]
        changed = plan.build(Request(ABLATIONS, settings=tiny, new=new, chosen=["baseline"], name="redefined"))
        tracking = opened(uri, changed)
        tracking.start(changed.trials[1])
        tracking.finish(changed.trials[1], RESULT, {})
        tracking.close()
    marks = {run.data.params["unet.dropout"]: run.data.tags["superseded"] for run in runs(uri, "redefined")}
    assert marks == {"0.1": "true", "0.2": "false"}


def test_a_run_that_lost_its_driver_is_ended_when_another_definition_takes_its_row(uri, tiny):
    def changed(dropout):
        new = [("mine", {"unet.dropout": dropout})]
        return plan.build(Request(ABLATIONS, settings=tiny, new=new, chosen=["baseline"], name="lost"))

    for dropout in (0.1, 0.2):
        tracking = opened(uri, changed(dropout))
        tracking.start(changed(dropout).trials[1])
        tracking.close()
    found = {run.data.params["unet.dropout"]: run for run in runs(uri, "lost")}
    assert {dropout: run.info.status for dropout, run in found.items()} == {"0.1": "KILLED", "0.2": "RUNNING"}
    assert found["0.1"].data.tags["superseded"] == "true"


MINE = {
    "cosine": {"diffusion.beta_schedule": "cosine"},
    "hasty": {"training.learning_rate": 0.1},
    "wide": {"unet.base_channels": 16},
}


def recorded(uri, tiny, name, delta, seeds, variant="mine", generation=0, miou=0.5):
    """A session of a study with one variant of the person's own, all of whose trials that are not done end well."""
    request = Request(
        ABLATIONS, settings=tiny, new=[(variant, MINE[delta])], chosen=["baseline"], seeds=seeds, name=name
    )
    mine = plan.build(request).of_generation(generation)
    writer = opened(uri, mine)
    done = writer.finished()
    ran = [t for t in mine.trials if (t.row, t.key) not in done]
    for trial in ran:
        writer.start(trial)
        writer.finish(trial, RESULT | {"metrics": {"miou": miou}}, {})
    writer.close()
    assert writer.errors == []
    return [t.name for t in ran if t.variant == variant]


def row(uri, name, variant="mine"):
    """What the table says of a variant: what changed, and the mIoU by seed."""
    trials = load_trials(uri, name)
    own = trials[trials["variant"] == variant]
    (delta,) = own["delta"].unique()
    return delta, dict(zip(own["seed"], own["miou"], strict=True))


def test_a_row_holds_only_what_its_definition_made(uri, tiny):
    recorded(uri, tiny, "rows", "cosine", [0, 1, 2], miou=0.1)
    recorded(uri, tiny, "rows", "hasty", [0], miou=0.2)
    assert row(uri, "rows") == ("training.learning_rate=0.1", {0: 0.2})
    # The first definition again: its trials are done, and are its row's valid runs once more.
    assert recorded(uri, tiny, "rows", "cosine", [0], miou=0.3) == []
    assert row(uri, "rows") == ("diffusion.beta_schedule=cosine", {0: 0.1, 1: 0.1, 2: 0.1})
    assert recorded(uri, tiny, "rows", "wide", [1], miou=0.4) == ["mine-seed1"]
    assert row(uri, "rows") == ("unet.base_channels=16", {1: 0.4})


def test_a_study_begun_afresh_mixes_no_generations(uri, tiny):
    recorded(uri, tiny, "afresh", "cosine", [0, 1, 2], miou=0.1)
    assert recorded(uri, tiny, "afresh", "cosine", [0], generation=1, miou=0.2) == ["mine-seed0"]
    assert row(uri, "afresh")[1] == {0: 0.2}
    assert row(uri, "afresh", "baseline")[1] == {0: 0.2}


def test_one_definition_under_two_names_is_a_run_of_each(uri, tiny):
    recorded(uri, tiny, "names", "cosine", [0])
    assert recorded(uri, tiny, "names", "cosine", [0], variant="yours") == ["yours-seed0"]
    assert row(uri, "names") == row(uri, "names", "yours")


def test_a_variant_keeps_its_place_and_words_of_today(uri, tiny):
    recorded(uri, tiny, "places", "cosine", [0])
    client = MlflowClient(uri)
    (run,) = [run for run in runs(uri, "places") if run.data.tags["variant"] == "mine"]
    for tag, value in (("position", "99"), ("delta", "as it was once written")):
        client.set_tag(run.info.run_id, tag, value)
    recorded(uri, tiny, "places", "cosine", [0])
    (run,) = [run for run in runs(uri, "places") if run.data.tags["variant"] == "mine"]
    assert (run.data.tags["position"], run.data.tags["delta"]) == ("1", "diffusion.beta_schedule=cosine")


def test_the_seeds_that_are_asked_for_are_noted_before_the_first_trial(uri, tiny):
    def looks(name):
        return from_text(load_trials(uri, name).attrs[TAG])

    recorded(uri, tiny, "planned", "cosine", [0, 1, 2])
    planned = Looks((frozenset({0, 1, 2}),), planned=True)
    assert looks("planned") == planned
    recorded(uri, tiny, "planned", "cosine", [0, 1])
    assert looks("planned") == planned
    recorded(uri, tiny, "planned", "cosine", [5])
    assert looks("planned") == Looks((*planned.seeds, frozenset({0, 1, 2, 5})), planned=True)
    for seeds in ([0], [1], [2]):
        recorded(uri, tiny, "one-by-one", "cosine", seeds)
    assert looks("one-by-one") == planned  # of two seeds nothing could be claimed


@pytest.mark.parametrize("name", ["Default", "made-elsewhere"])
def test_an_experiment_without_a_mark_is_nobodys_study(uri, tiny, name):
    client = MlflowClient(uri)
    if client.get_experiment_by_name(name) is None:
        client.create_experiment(name)
    with pytest.raises(UsageError, match=f"--name: the experiment '{name}' in MLflow is no study of ours"):
        opened(uri, study(tiny, name))
    assert not runs(uri, name)


def test_a_name_that_belongs_to_another_baseline_is_refused(uri, tiny):
    opened(uri, study(tiny, "taken")).close()
    with pytest.raises(UsageError, match="another baseline"):
        opened(uri, study(tiny, "taken", {"training.batch_size": 9}))


def test_a_name_that_belongs_to_other_data_is_refused(uri, tiny):
    mine = study(tiny, "data")
    opened(uri, mine).close()
    with pytest.raises(UsageError, match="another baseline or other data"):
        opened(uri, replace(mine, about=replace(mine.about, fingerprint="of other files")))


def test_a_store_that_is_away_for_a_while_loses_no_record(uri, tiny, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.writer.RETRY_S", 0.05)
    mine = study(tiny, "away")
    tracking, trial = opened(uri, mine), mine.trials[0]
    tracking.start(trial)
    tracking.flush()
    real, away = tracking.client.log_batch, threading.Event()
    away.set()

    def log_batch(*args, **kwargs):
        if away.is_set():
            raise ConnectionError("the server is away")
        return real(*args, **kwargs)

    monkeypatch.setattr(tracking.client, "log_batch", log_batch)
    for step in range(1, 6):
        tracking.log(trial, [(step, {"loss": 1.0})])
    away_thread = threading.Timer(0.3, away.clear)
    away_thread.start()
    tracking.close()
    (run,) = runs(uri, "away")
    assert len(MlflowClient(uri).get_metric_history(run.info.run_id, "loss")) == 5
    assert tracking.errors == []


def test_a_store_that_stays_away_is_said_at_the_end(uri, tiny, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.writer.RETRY_S", 0.05)
    mine = study(tiny, "stays-away")
    tracking, trial = opened(uri, mine), mine.trials[0]
    tracking.start(trial)
    tracking.flush()

    def log_batch(*args, **kwargs):
        raise ConnectionError("the server is away")

    monkeypatch.setattr(tracking.client, "log_batch", log_batch)
    for step in range(1, 4):
        tracking.log(trial, [(step, {"loss": 1.0})])
    assert not tracking.flush(0.1)
    assert tracking.trouble == "MLflow, baseline-seed0: ConnectionError: the server is away"
    trouble = tracking.trouble
    tracking.close(limit_s=0.3)
    assert tracking.errors == [trouble, "MLflow: 2 more records were not sent"]


def test_a_writer_that_nobody_closes_keeps_no_process_alive(uri, tiny):
    tracking = opened(uri, study(tiny, "left-open"))
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "mlflow-writer"] == [True]
    tracking.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "mlflow-writer"]


def test_a_place_that_takes_no_files_is_refused(uri, tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--tracking-uri: MLflow takes no files at file:///.*NotADirectory"):
        MLflowWriter(uri, study(tiny, "no-place"), tmp_path / "file" / "artifacts")


def test_what_proves_the_place_of_the_files_leaves_none_there(uri, tiny, tmp_path):
    MLflowWriter(uri, study(tiny, "proved"), tmp_path).close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_note_that_is_too_long_is_cut_at_a_line_and_says_so(uri, tiny):
    tracking = opened(uri, study(tiny, "long"))
    rows = "".join(f"| variant {i} | {'x' * 300} |\n" for i in range(80))
    tracking.describe(rows)
    tracking.close()
    assert (tracking.errors, tracking.remarks) == ([], [])
    note = MlflowClient(uri).get_experiment_by_name("long").tags["mlflow.note.content"]
    _, *lines, last, _ = note.splitlines()
    assert rows.startswith("\n".join(lines).rstrip())
    assert 19_000 < len(note) <= 20_000
    assert last == "Cut here, as MLflow takes no more: the whole table is in the study's report."


@pytest.mark.parametrize("found", ["", "| variant | n |\n|--|--|\n| baseline | 1 |\n"])
def test_a_note_has_our_table_between_marks_and_nothing_of_an_earlier_one(found, uri, tiny):
    tracking = opened(uri, study(tiny, f"noted-{len(found)}"))
    tracking.client.set_experiment_tag(tracking.experiment_id, NOTE, found)
    for table in ("| variant | 1 |", "| variant | 2 |"):
        tracking.describe(table)
    tracking.close()
    assert tracking.client.get_experiment(tracking.experiment_id).tags[NOTE] == f"{BEGIN}| variant | 2 |{END}"


def test_what_a_person_wrote_around_the_table_is_kept(uri, tiny):
    tracking = opened(uri, study(tiny, "annotated"))
    client, number = tracking.client, tracking.experiment_id
    client.set_experiment_tag(number, NOTE, "Seed 2 ran on the *old* node.")
    tracking.describe("table 1")
    assert tracking.flush()
    found = client.get_experiment(number).tags[NOTE]
    assert found == f"Seed 2 ran on the *old* node.\n\n{BEGIN}table 1{END}"
    client.set_experiment_tag(number, NOTE, f"{found}\nTo do: more seeds.")
    tracking.describe("table 2")
    tracking.close()
    expected = f"Seed 2 ran on the *old* node.\n\n{BEGIN}table 2{END}\nTo do: more seeds."
    assert client.get_experiment(number).tags[NOTE] == expected


def test_of_a_long_note_and_a_long_table_the_table_is_cut():
    mine = "a remark\n" * 1500
    cut = note("| row |\n" * 3000, mine)
    assert cut.startswith(mine)
    assert cut.endswith(f"the whole table is in the study's report.{END}")
    assert len(cut) <= 20_000
    assert note("| row |\n" * 3000, cut) == cut


def test_what_only_adorns_the_records_may_fail(uri, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.records.NOTE_LIMIT", 30_000)
    mine = study(tiny, "adorned")
    tracking, trial = opened(uri, mine), mine.trials[0]

    def log_artifact(*args):
        raise ValueError("no such picture")

    monkeypatch.setattr(tracking.client, "log_artifact", log_artifact)
    tracking.start(trial)
    tracking.finish(trial, RESULT, {"samples": tmp_path / "samples.png"})
    tracking.describe("x" * 20_001)
    tracking.price(1.0)
    tracking.close()
    assert tracking.errors == []
    files, note = tracking.remarks
    assert files == "MLflow, baseline-seed0: its files are not all there (ValueError: no such picture)"
    assert note.startswith("MLflow, note: ")
    (run,) = runs(uri, "adorned")
    assert (run.info.status, run.data.metrics["miou"]) == ("FINISHED", 0.5)
    assert MlflowClient(uri).get_experiment_by_name("adorned").tags["gpu_hour_price"] == "1.0"


def test_what_is_written_is_in_the_one_file_once_the_writer_is_closed(tiny, tmp_path):
    tracking = opened(f"sqlite:///{tmp_path}/mlflow.db", study(tiny, "whole"))
    tracking.describe("# a table")
    tracking.close()  # MLflow's own connections stay open until the process ends
    (tmp_path / "copy.db").write_bytes((tmp_path / "mlflow.db").read_bytes())
    experiment = MlflowClient(f"sqlite:///{tmp_path}/copy.db").get_experiment_by_name("whole")
    assert "\n# a table\n" in experiment.tags["mlflow.note.content"]


def test_the_saved_view_shows_the_metrics(uri, tiny):
    tracking = opened(uri, study(tiny, "view"))
    tracking.describe("# table")
    tracking.close()
    experiment = MlflowClient(uri).get_experiment_by_name("view")
    assert "metrics.`fid_digits`" in experiment.tags["mlflow.sharedViewState.ablations"]
    assert "\n# table\n" in experiment.tags["mlflow.note.content"]
    assert f"#/experiments/{experiment.experiment_id}/" in tracking.page
