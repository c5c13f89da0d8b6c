"""The summary runs beside the trials' runs, against a real SQLite store."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from waiting import wait_until

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.tracking.runs_table import saved_view
from orchestrator.tracking.summary_runs import ROW, write
from orchestrator.tracking.writer import MLflowWriter
from results.summary import present_metrics, summarise
from results.trials import load_trials
from search_spaces.spaces import ABLATIONS
from tests.results.browser import Browser, chromium

RESULT = {
    "artefacts": {}, "wall_time_s": {"ddpm": 3.0, "fid": 1.0}, "gpu_s": 0.0, "machine": "here, cpu",
    "made_with": "cpu, 1 thread", "note": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def study(tiny, name, seeds=(0, 1, 2)):
    return plan.build(Request(ABLATIONS, settings=tiny, chosen=["adagn", "cosine"], name=name, seeds=seeds))


def opened(uri, study):
    return MLflowWriter(uri, study, Path(uri.removeprefix("sqlite:///")).parent / "artifacts")


def fid(trial):
    by_variant = {"baseline": 50.0, "adagn": 30.0, "cosine": 51.0}
    return by_variant.get(trial.variant, 80.0) + trial.config.seed


def recorded(uri, mine, files=()):
    """A session of the study, all of whose trials that are not done end well, and its summary."""
    writer = opened(uri, mine)
    done = writer.finished()
    for trial in mine.trials:
        if (trial.row, trial.key) not in done:
            writer.start(trial)
            writer.finish(trial, RESULT | {"metrics": {"fid_digits": fid(trial), "miou": 0.5}}, {})
    assert writer.flush()
    summary = summary_of(uri, mine.name)
    writer.summarise(summary, files)
    writer.close()
    assert (writer.errors, writer.remarks) == ([], [])
    return summary


def summary_of(uri, name):
    trials = load_trials(uri, name)
    return summarise(trials, present_metrics(trials))


def ordered(uri, mine):
    """The runs' names as the saved view has them."""
    view = json.loads(saved_view(mine))
    client = MlflowClient(uri)
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    return client.search_runs([client.get_experiment_by_name(mine.name).experiment_id], order_by=[order])


def summaries(uri, mine):
    return {run.data.tags.get("variant", ""): run for run in ordered(uri, mine) if ROW in run.data.tags}


@pytest.fixture(scope="module")
def summed(uri, tiny, tmp_path_factory):
    """A study at its end, and its table."""
    folder = tmp_path_factory.mktemp("report")
    files = [folder / "report.html", folder / "table.md"]
    for file in files:
        file.write_text("| variant |")
    mine = study(tiny, "summed")
    return mine, recorded(uri, mine, files)


def test_the_study_and_each_variant_have_a_run_with_what_the_table_says(uri, summed):
    mine, table = summed
    found = summaries(uri, mine)
    assert set(found) == {"", *table["variant"]}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    rows = table.set_index(["variant", "metric"])
    compared = 0
    for (variant, metric), row in rows.iterrows():
        data = found[variant].data
        assert data.metrics.get(metric, math.nan) == pytest.approx(row["mean"], nan_ok=True)
        for figure in ("n", "sd", "difference", "ci_low", "ci_high", "p", "floor"):
            assert data.metrics.get(f"{metric}/{figure}", math.nan) == pytest.approx(row[figure], nan_ok=True)
            compared += f"{metric}/{figure}" in data.metrics
        assert (data.tags[f"{metric}/verdict"], data.tags[f"{metric}/level"]) == (row["verdict"], row["level"])
    assert compared > 20
    assert found["adagn"].data.tags["fid_digits/verdict"] == "helps"
    assert found["adagn"].data.tags["fid_digits/level"] == "confirmed"
    assert found["adagn"].data.metrics["wall_time_s"] == 4.0
    artifacts = {a.path for a in MlflowClient(uri).list_artifacts(found[""].info.run_id)}
    assert artifacts == {"report.html", "table.md"}


def test_the_saved_view_begins_with_them_in_the_tables_order(uri, summed):
    mine, table = summed
    names = [run.info.run_name for run in ordered(uri, mine)]
    expected = ["summed", *table["variant"].unique()]
    assert names[: len(expected)] == expected
    assert len(names) == len(expected) + len(mine.trials)
    columns = json.loads(saved_view(mine))["selectedColumns"]
    assert {"metrics.`fid_digits`", "metrics.`fid_digits/difference`", "tags.`fid_digits/verdict`"} <= set(columns)


def test_nobody_counts_them_as_trials(uri, summed):
    mine, _ = summed
    assert len(load_trials(uri, "summed")) == len(mine.trials)
    writer = opened(uri, mine)
    assert writer.finished() == {(trial.row, trial.key) for trial in mine.trials}
    writer.close()
    assert not [run for run in summaries(uri, mine).values() if "superseded" in run.data.tags]


def test_a_study_that_goes_on_writes_into_the_same_runs(uri, tiny):
    first = study(tiny, "goes-on", seeds=(0, 1, 2))
    recorded(uri, first)
    before = summaries(uri, first)
    more = study(tiny, "goes-on", seeds=(0, 1, 2, 3, 4))
    recorded(uri, more)
    after = summaries(uri, more)
    assert {name: run.info.run_id for name, run in after.items()} == {n: r.info.run_id for n, r in before.items()}
    assert before["adagn"].data.metrics["fid_digits"] == 31.0
    assert (after["adagn"].data.metrics["fid_digits"], after["adagn"].data.metrics["fid_digits/n"]) == (32.0, 5.0)
    recorded(uri, more)
    again = summaries(uri, more)
    assert {name: run.data.metrics for name, run in again.items()} == {n: r.data.metrics for n, r in after.items()}
    history = MlflowClient(uri).get_metric_history(after["adagn"].info.run_id, "fid_digits")
    assert [point.value for point in history] == [31.0, 32.0]  # what is as it was is not written again


def test_what_the_table_says_no_more_is_gone(uri, tiny):
    mine = study(tiny, "gone")
    table = recorded(uri, mine)
    client, number = MlflowClient(uri), MlflowClient(uri).get_experiment_by_name("gone").experiment_id
    run_id = summaries(uri, mine)["cosine"].info.run_id
    unsure = table.assign(p=math.nan)
    write(client, number, mine, unsure[unsure["variant"] != "cosine"])
    left = summaries(uri, mine)
    assert "cosine" not in left
    assert math.isnan(left["adagn"].data.metrics["fid_digits/p"])
    assert left["adagn"].data.metrics["fid_digits"] == 31.0
    write(client, number, mine, table)
    back = summaries(uri, mine)
    assert back["cosine"].info.run_id == run_id
    assert back["adagn"].data.metrics["fid_digits/p"] < 0.05


def test_a_failed_variant_has_a_run_without_figures(uri, tiny):
    mine = study(tiny, "failed", seeds=(0,))
    writer = opened(uri, mine)
    for trial in mine.trials:
        writer.start(trial)
        if trial.variant == "cosine":
            writer.fail(trial, "Diverged: at step 3")
        else:
            writer.finish(trial, RESULT | {"metrics": {"fid_digits": fid(trial)}}, {})
    assert writer.flush()
    writer.summarise(summary_of(uri, "failed"), [])
    writer.close()
    cosine = summaries(uri, mine)["cosine"].data
    assert "fid_digits" not in cosine.metrics
    assert (cosine.metrics["fid_digits/n"], cosine.tags["fid_digits/verdict"]) == (0.0, "no paired seeds")


def test_a_searchs_points_have_none_and_the_search_has_one(uri, tiny):
    mine = study(tiny, "searched", seeds=(0,))
    table = recorded(uri, mine)
    number = MlflowClient(uri).get_experiment_by_name("searched").experiment_id
    write(MlflowClient(uri), number, replace(mine, objective="validation_miou"), table)
    assert set(summaries(uri, mine)) == {""}


def ended(uri, tiny, name):
    """The summary of a study that has ended, and a writer of its next session."""
    mine = study(tiny, name, seeds=(0,))
    return recorded(uri, mine), opened(uri, mine)


def raising(error):
    def call(*args, **kwargs):
        raise error

    return call


def test_they_may_fail_without_failing_the_study(uri, tiny, monkeypatch):
    table, writer = ended(uri, tiny, "adorned")
    monkeypatch.setattr(writer.client, "log_batch", raising(ValueError("no such picture")))
    writer.summarise(table, [])
    writer.close()
    assert (writer.errors, writer.remarks) == ([], ["MLflow, summary: ValueError: no such picture"])


def test_a_server_that_is_away_at_the_end_costs_no_record_where_only_they_are_missing(uri, tiny, monkeypatch):
    monkeypatch.setattr("orchestrator.tracking.writer.RETRY_S", 0.05)
    table, writer = ended(uri, tiny, "away")
    monkeypatch.setattr(writer.client, "get_experiment", raising(ConnectionError("the server is away")))
    writer.describe("| variant |")
    writer.summarise(table, [])
    writer.close(limit_s=0.3)
    assert (writer.errors, writer.remarks) == ([], ["MLflow, note: ConnectionError: the server is away"])


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="there is no Chromium on this machine")
def test_mlflows_page_has_them_first_in_its_table_and_in_its_charts(server, tiny, tmp_path):
    mine = study(tiny, "on-the-page")
    writer = MLflowWriter(server.uri, mine, tmp_path)
    for trial in mine.trials:
        writer.start(trial)
        writer.finish(trial, RESULT | {"metrics": {"fid_digits": fid(trial), "miou": 0.5}}, {})
    assert writer.flush()
    table = summary_of(server.uri, mine.name)
    writer.summarise(table, [])
    writer.close()
    expected = ["on-the-page", *table["variant"].unique()]
    browser = Browser(tmp_path / "profile")
    try:
        browser.show(2400, 1600)
        browser.call("Page.navigate", url=f"{server.uri}/{writer.page}")
        links = "[...document.querySelectorAll('a[href*=\"/runs/\"]')].map(a => a.textContent)"
        wait_until(lambda: len(browser.ask(links)) >= len(expected), "the runs are there", 60)
        assert browser.ask(links)[: len(expected)] == expected
        heads = browser.ask("[...document.querySelectorAll('[role=columnheader]')].map(e => e.innerText)")
        assert {"fid_digits", "fid_digits/difference", "fid_digits/verdict", "miou", "seed"} <= set(heads)
        browser.call("Page.navigate", url=f"{server.uri}/{writer.page}&compareRunsMode=CHART")
        text = "document.body.innerText"
        wait_until(lambda: "miou/difference" in browser.ask(text), "the charts are there", 60)
        shown = browser.ask(text)
        shown = shown[shown.index("Run Name") :]
        assert shown.index("variants") < shown.index("fid_digits/difference") < shown.index("miou/difference")
    finally:
        browser.close()
