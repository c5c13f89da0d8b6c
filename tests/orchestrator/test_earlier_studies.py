"""A study that earlier code began goes on with the present code.

`earlier_study.tar.xz` is such a study's storage folder, as commit c960ed1 left it at /tmp/earlier:

    python -m orchestrator.run ablations --storage /tmp/earlier WORDS --variants cosine          to its end
    python -m orchestrator.run ablations --storage /tmp/earlier WORDS --variants cosine adagn    killed

with the WORDS below. The second driver was killed (SIGKILL) when MLflow had twelve losses of adagn's. Of the two
checkpoints the older one is kept, so that MLflow is a step ahead of it, as it is when the kill comes while a checkpoint
is being written. For the size there are no pictures, reports or files of Tune's, and the database was vacuumed. The
claims of the killed processes are left out too: another machine takes them for live ones.
"""

import csv
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.run import main

STUDY = Path(__file__).parent / "earlier_study.tar.xz"
EARLIER = "/tmp/earlier"
NAME, STEPS, CHECKPOINT = "quick-7e498b", 60, 11
FINISHED = {"baseline-seed0", "cosine-seed0", "untrained-seed0", "real_images-seed0", "raw_pixels-seed0"}
CUT_OFF = "adagn-seed0"

# The words that it was begun with, whatever the tests' tiny study has by now.
SETTINGS = {
    "data.image_size": "8",
    "unet.base_channels": "8",
    "unet.channel_mults": "[1]",
    "unet.attention_resolutions": "[8]",
    "training.train_steps": STEPS,
    "training.batch_size": "8",
    "sampling.sampling_steps": "2",
    "sampling.sampling_repeats": "2",
    "sampling.samples": "80",
    "segmentation.blocks": "[3]",
    "segmentation.label_images": "4",
    "segmentation.ensemble_size": "2",
    "segmentation.epochs": "1",
}
WORDS = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
WORDS += ["--checkpoint-interval", "0"]


def unpacked(folder):
    """The study's storage folder, which has moved."""
    shutil.unpack_archive(STUDY, folder, filter="data")
    storage = folder / "runs"
    with closing(sqlite3.connect(storage / "mlflow.db")) as database:
        columns = database.execute(
            "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
            "WHERE tables.type = 'table' AND (columns.type LIKE '%CHAR%' OR columns.type LIKE '%TEXT%')"
        ).fetchall()
        for table, column in columns:
            change = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'
            database.execute(change, (EARLIER, str(storage), EARLIER))
        database.commit()
    return storage


def recorded(command):
    """All that MLflow holds, by run's name: the run, and each metric's points by step."""
    client, runs = command.runs()

    def points(run, metric):
        return sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, metric))

    return {
        name: (run.to_dictionary(), {metric: points(run, metric) for metric in run.data.metrics})
        for name, run in runs.items()
    }


def files(storage):
    """The artefacts in the store and MLflow's files."""
    paths = [p for part in ("store", "mlflow-artifacts") for p in (storage / part).rglob("*") if p.is_file()]
    left_out = {"checkpoints", "claims", "studies"}
    return {p: p.read_bytes() for p in paths if not left_out & set(p.relative_to(storage).parts)}


def table(storage):
    """The table's figures by variant and metric."""
    with (storage / "studies" / NAME / "table.csv").open() as file:
        return {
            (row["variant"], row["metric"]): (row["n"], row["mean"], row["difference"]) for row in csv.DictReader(file)
        }


@pytest.fixture
def command(commands, tmp_path):
    command = commands(unpacked(tmp_path), name="ablations")
    command.words = [*WORDS, "--variants", "cosine", "adagn"]
    return command


def test_a_study_that_earlier_code_began_goes_on_and_repeats_nothing(command, capsys):
    storage = command.storage
    records, artefacts, figures = recorded(command), files(storage), table(storage)
    assert set(records) == FINISHED | {CUT_OFF}
    assert {records[name][0]["info"]["status"] for name in FINISHED} == {"FINISHED"}
    done = command.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"6 trials: 5 done, 1 resumes at ddpm step {CHECKPOINT} of {STEPS}" in done.stdout

    after = recorded(command)
    assert after.keys() == records.keys()
    assert {name: after[name] for name in FINISHED} == {name: records[name] for name in FINISHED}
    found = files(storage)
    assert {path: found.get(path) for path in artefacts} == artefacts

    (run, metrics), (run_before, metrics_before) = after[CUT_OFF], records[CUT_OFF]
    assert run["info"]["run_id"] == run_before["info"]["run_id"]
    assert run["info"]["status"] == "FINISHED"
    assert [step for step, *_ in metrics["loss"]] == list(range(1, STEPS + 1))
    assert len(metrics_before["loss"]) == CHECKPOINT + 1
    assert metrics["loss"][: CHECKPOINT + 1] == metrics_before["loss"]
    assert {"fid_digits", "miou"} <= metrics.keys()
    assert not list((storage / "store" / "checkpoints").glob("*/*"))

    now = table(storage)
    assert {row: now.get(row) for row in figures} == figures
    assert {("adagn", "fid_digits"), ("adagn", "miou")} <= now.keys() - figures.keys()
    assert main(["report", NAME, "--storage", str(storage)]) == 0
    assert "adagn" in capsys.readouterr().out
    assert table(storage) == now
