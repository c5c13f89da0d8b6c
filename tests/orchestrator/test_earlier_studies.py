"""A study that code of before code was part of a key has made: accepted as it is, or made again.

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
from pathlib import Path

import pytest
from mlflow import MlflowClient
from moved_storage import tell_mlflow

from orchestrator.run import main

pytestmark = pytest.mark.slow

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
    tell_mlflow(storage, EARLIER)
    return storage


def recorded(storage):
    """What MLflow holds of the runs that stand in the table, by name: run id, status, and each metric's points."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name(NAME).experiment_id], "tags.superseded != 'true'")

    def points(run, metric):
        return sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, metric))

    found = {
        run.info.run_name: (
            run.info.run_id,
            run.info.status,
            {metric: points(run, metric) for metric in run.data.metrics},
        )
        for run in runs
    }
    assert len(found) == len(runs)
    return found


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


def test_what_earlier_code_trained_is_accepted_and_measured_by_the_definitions_of_today(command, capsys):
    storage = command.storage
    records, artefacts, figures = recorded(storage), files(storage), table(storage)
    assert set(records) == FINISHED | {CUT_OFF}
    assert {records[name][1] for name in FINISHED} == {"FINISHED"}
    done = command.run("--accept-code")
    assert done.returncode == 0, done.stdout + done.stderr

    # Nothing of what there was is touched, and the baseline's training and samples are not made again.
    found = files(storage)
    assert {path: found.get(path) for path in artefacts} == artefacts
    made = {stage: {p.parent.name for p in found.keys() - artefacts.keys() if p.parent.parent.name == stage}
            for stage in ("ddpm", "samples")}  # fmt: skip
    # Its lower clip is a setting since, so cosine is; adagn had only begun.
    assert len(made["ddpm"]) == len(made["samples"]) == len({"cosine", "adagn"})

    # What is measured by another definition since is measured again, on the same samples and in a run of its own.
    after, now = recorded(storage), table(storage)
    assert after.keys() == records.keys()
    assert {status for _, status, _ in after.values()} == {"FINISHED"}
    assert not {run_id for run_id, *_ in after.values()} & {run_id for run_id, *_ in records.values()}
    key = ("baseline", "fid_digits")
    assert float(now[key][1]) == pytest.approx(float(figures[key][1]), rel=1e-6)
    assert [step for step, *_ in after[CUT_OFF][2]["loss"]] == list(range(1, STEPS + 1))

    told = " ".join(done.stdout.split())
    assert "by --accept-code as other code had made it" in told
    assert main(["report", NAME, "--storage", str(storage)]) == 0
    assert "adagn" in capsys.readouterr().out
    assert table(storage) == now


def test_without_acceptance_what_earlier_code_made_is_told_and_made_again(command):
    done = command.run("--variants", "baseline")
    assert done.returncode == 0, done.stdout + done.stderr
    told = " ".join(done.stdout.split())
    # Of the baseline and its untrained control.
    assert "2 stored results of training made before code was part of a key: not used, made again" in told
    assert "0 to run" not in told
