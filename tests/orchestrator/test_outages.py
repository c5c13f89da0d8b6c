"""What a study depends on goes away in its middle: MLflow's server, a node of the Ray cluster."""

import os
import re
import select
import shlex
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ports import free_port
from waiting import wait_until

from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.tracking import writer
from search_spaces.spaces import ABLATIONS

STEPS = 400
# The command whose end waits for MLflow for seconds and not for a minute.
IMPATIENT = [
    *(sys.executable, "-c"),
    "from orchestrator.study import session; session.FLUSH_LIMIT_S = 5.0; "
    "from orchestrator.run import main, signals; signals.end(main())",
]

slow = pytest.mark.slow  # they run whole studies


class Relays(socketserver.ThreadingTCPServer):
    allow_reuse_address = True  # it is opened again at once


class Way:
    """A way to a port of this machine by another one, which can be cut and opened again."""

    def __init__(self, port: int) -> None:
        self.port, self.own = port, free_port()
        self.uri = f"http://127.0.0.1:{self.own}"
        self.open()

    def open(self) -> None:
        way = self

        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", way.port)) as there:
                    ends = {self.request: there, there: self.request}
                    while not way.closed.is_set():
                        for end in select.select(list(ends), [], [], 0.05)[0]:
                            if not (part := end.recv(65536)):
                                return
                            ends[end].sendall(part)

        self.closed, self.relay = threading.Event(), Relays(("127.0.0.1", self.own), Relay)
        threading.Thread(target=self.relay.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def cut(self) -> None:
        self.closed.set()
        self.relay.shutdown()
        self.relay.server_close()


def test_records_wait_while_the_tracking_server_is_away_and_are_all_sent_when_it_is_back(
    server, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(writer, "RETRY_S", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the writer's own tries are meant
    study = plan.build(Request(ABLATIONS, settings=tiny, chosen=["cosine"], name="away"))
    way = Way(server.port)  # to cut it takes no time, as to start a server anew does
    records, trial = writer.MLflowWriter(way.uri, study, tmp_path), study.trials[0]
    records.start(trial)
    records.log(trial, [(1, {"loss": 1.0})])
    assert records.flush()
    way.cut()
    for step in (2, 3):
        records.log(trial, [(step, {"loss": 1.0})])
    records.fail(trial, "Diverged: at step 3")
    assert not records.flush(0.5)
    assert records.trouble.startswith("MLflow, baseline-seed0: ")
    way.open()
    records.close()
    way.cut()
    assert (records.errors, records.trouble) == ([], "")
    client = MlflowClient(server.uri)
    (run,) = client.search_runs([records.experiment_id])
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "Diverged: at step 3")
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]


@slow
def test_the_tracking_server_dies_and_comes_back(commands, server, tmp_path):
    words = ("--variants", "baseline", "--tracking-uri", server.uri)
    command = commands(tmp_path / "runs", *words, train_steps=STEPS)
    process = command.start()
    wait_until(lambda: "baseline-seed0: training" in command.text(), "the training begins", 120, log=command.out)
    server.kill()
    time.sleep(5)
    server.start()
    assert process.wait(200) == 0, command.text()
    client, runs = command.runs(server.uri)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(runs) == 4
    assert "View experiment" not in command.text()  # as MLflow's client says for each run
    steps = [m.step for m in client.get_metric_history(runs["baseline-seed0"].info.run_id, "loss")]
    assert steps == list(range(2, STEPS + 1, 2))


@slow
def test_a_tracking_server_that_is_gone_for_good_is_told_and_sent_everything_later(commands, server, tmp_path):
    command = commands(tmp_path / "runs", "--variants", "baseline", "--tracking-uri", server.uri)
    process = replace(command, program=IMPATIENT).start()
    wait_until(lambda: "started" in command.text(), "a trial starts", 120, log=command.out)
    server.kill()
    assert process.wait(200) == 1, command.text()
    assert "Traceback" not in command.text()
    assert "no table: MLflow lacks records" in command.text()
    server.start()
    again = command.run(network=True)
    assert again.returncode == 0, again.stdout + again.stderr
    _, runs = command.runs(server.uri)
    assert [run.info.status for run in runs.values()] == ["FINISHED"] * 4


@slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="is the folder that takes no file")
def test_a_tracking_server_that_takes_no_files_is_told_before_any_trial(commands, new_server, tmp_path):
    new_server.files = Path("/proc/not-there")
    new_server.start()
    words = ("--variants", "baseline", "--tracking-uri", new_server.uri)
    study = commands(tmp_path / "runs", *words).run(network=True)
    assert (study.returncode, study.stdout) == (2, "")
    assert re.fullmatch(r"error: --tracking-uri: MLflow takes no files at mlflow-artifacts:\S* \(.*\)\n", study.stderr)
    check = commands(tmp_path / "runs", *words, name="check").run(network=True)
    assert check.returncode == 2
    row = next(line for line in check.stdout.splitlines() if "tracking" in line)
    assert re.search(r"│ driver +│ tracking +│ NO +│ \w+", row), row


@slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the node's processes in /proc")
def test_a_node_that_is_lost_gives_its_trials_to_the_other(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        words = [
            "--variants",
            "cosine",
            "--address",
            cluster.address,
            "--gpus-per-trial",
            "0",
            "--checkpoint-interval",
            "0.3",
        ]
        command = commands(tmp_path / "runs", *words, train_steps=800)
        process = command.start()
        store = tmp_path / "runs" / "store" / "checkpoints"
        wait_until(
            lambda: len(list(store.glob("ddpm-*/*/manifest.json"))) >= 2, "two checkpoints", 120, log=command.out
        )
        cluster.remove_node(other, allow_graceful=False)
        assert process.wait(240) == 0, command.text()
    finally:
        cluster.shutdown()
    assert "its worker was lost, attempt 2" in command.text()
    client, runs = command.runs()
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(runs) == 5
    for name in ("baseline-seed0", "cosine-seed0"):
        steps = [m.step for m in client.get_metric_history(runs[name].info.run_id, "loss")]
        assert len(steps) == len(set(steps))
        assert max(steps) == 800


def mounted(command, script):
    """Runs a shell script with $STORE on a small disk of its own, in a mount namespace that ends with it."""
    command.storage.mkdir()
    (command.storage / "store").mkdir()
    run = shlex.join(command.line)
    lines = f"""
        STORE={command.storage}/store; OUT={command.out}
        mount -t tmpfs -o size=$SIZE tmpfs $STORE || exit 77
        said() {{ for i in $(seq 600); do grep -q "$1" $OUT && return 0; sleep 0.2; done; return 1; }}
        {run} > $OUT 2>&1 & DRIVER=$!
        {script}
        wait $DRIVER
    """
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", lines]
    return subprocess.run(words, timeout=280, check=False, env=os.environ | {"SIZE": "100m"} | command.environment)


def able_to_mount():
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return shutil.which("unshare") and subprocess.run(words, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not able_to_mount(), reason="may not mount a disk of its own here")
FULL = "the store .* cannot be used"


@slow
@needs_mount
@pytest.mark.parametrize(
    ("size", "shut", "opened"),
    [
        ("64k", "", "mount -o remount,size=100m $STORE"),
        ("100m", "said 'started' && mount -o remount,ro $STORE", "mount -o remount,rw $STORE"),
    ],
    ids=["a full disk that is given room", "a disk that turns read-only and back"],
)
def test_a_disk_that_takes_nothing_for_a_while_costs_no_trial(commands, tmp_path, size, shut, opened):
    command = commands(tmp_path / "runs", "--variants", "baseline")
    command.environment["SIZE"] = size
    done = mounted(command, f"{shut}\n said '{FULL}' || exit 78; {opened}")
    assert done.returncode == 0, command.text()
    assert "trying again" in command.text()
    _, runs = command.runs()
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
