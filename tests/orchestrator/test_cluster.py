"""Clusters of many nodes, each a process of this machine: they come and go by demand, and one has many trials.

`make cluster-test` runs these in a network and a process tree of their own, and shows what they print.
"""

import contextlib
import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from waiting import status, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        [name for _, name in socket.if_nameindex()] != ["lo"],
        reason="wants a network of its own with loopback only: make cluster-test",
    ),
]


RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
TOKEN = secrets.token_hex()  # Ray reads it once a process
DASHBOARD = "http://127.0.0.1:8265"
HEAD = {"RAY_FAKE_CLUSTER": "1", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": "f" * 51 + "00000"}


@pytest.fixture
def head(monkeypatch):
    """Starts the head of a cluster, which runs no trial itself, and joins this process to it."""
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp") as folder:  # a socket's path must be short
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)

        def start(*words):
            words = ["start", "--head", "--num-cpus=0", f"--temp-dir={folder}", "--include-dashboard=false", *words]
            # The provider of nodes that are processes knows the head by this name.
            subprocess.run([*RAY, *words], env=os.environ | HEAD, check=True, stdout=subprocess.DEVNULL)
            import ray  # reads the environment

            ray.init("127.0.0.1:6379", log_to_driver=False, logging_level="ERROR")
            return "127.0.0.1:6379"

        yield start
        sys.modules["ray"].shutdown()
        subprocess.run([*RAY, "stop", "--force"], check=True, stdout=subprocess.DEVNULL)


def join(address, cpus):
    """Adds a node."""
    subprocess.run([*RAY, "start", f"--address={address}", f"--num-cpus={cpus}"], check=True, stdout=subprocess.DEVNULL)


@dataclass
class Watch:
    """What a driver takes, and how long MLflow's server makes others wait, while the trials end."""

    process: subprocess.Popen
    client: MlflowClient
    ended: list[int] = field(default_factory=list)
    driver_mb: list[float] = field(default_factory=list)
    driver_cpu_s: list[float] = field(default_factory=list)
    page_s: list[float] = field(default_factory=list)
    write_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        probe = self.client.create_experiment("probe")
        self.run = self.client.create_run(probe).info.run_id

    def look(self, ended: int) -> None:
        proc = Path("/proc", str(self.process.pid))
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            pages = int((proc / "statm").read_text().split()[1])
            ticks = (proc / "stat").read_text().rpartition(")")[2].split()[11:13]
            self.ended.append(ended)
            self.driver_mb.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            self.driver_cpu_s.append(sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
        began = time.monotonic()
        self.client.search_runs([e.experiment_id for e in self.client.search_experiments()], max_results=100)
        self.page_s.append(time.monotonic() - began)
        began = time.monotonic()
        self.client.log_metric(self.run, "probe", 0.0, step=len(self.write_s))
        self.write_s.append(time.monotonic() - began)

    def per_trial(self, taken: list[float], first: int, last: int) -> float:
        """The growth for each trial that ends, among those from `first` to `last`."""
        rows = [(n, value) for n, value in zip(self.ended, taken, strict=True) if first <= n <= last]
        return float(np.polyfit(*np.transpose(rows), 1)[0])

    def told(self, trials: int) -> str:
        half, cpu_s = trials // 2, self.driver_cpu_s
        memory = [f"{n}: {self.driver_mb[np.searchsorted(self.ended, n)]:.0f} MB" for n in (1, half, max(self.ended))]
        lines = [
            f"driver's memory by ended trials: {', '.join(memory)}; at most {max(self.driver_mb):.0f} MB",
            f"driver's memory a trial of the second half: {self.per_trial(self.driver_mb, half, trials):+.2f} MB",
            f"driver's processor time a trial: {self.per_trial(cpu_s, 1, half):.2f} s in the first half,"
            f" {self.per_trial(cpu_s, half, trials):.2f} s in the second",
        ]
        for what, times in (("the page's query", self.page_s), ("a write", self.write_s)):
            median, slow, most = np.percentile(times, [50, 95, 100]) * 1000
            lines.append(
                f"MLflow, {what}: median {median:.0f} ms, 95th percentile {slow:.0f} ms, at most {most:.0f} ms"
            )
        return "\n".join(lines)


def workers():
    """How many nodes are there that can run a trial."""
    import ray

    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


def test_nodes_come_up_together_for_the_whole_plan_and_go_when_idle(head, autoscaling, commands, tmp_path, capsys):
    file = tmp_path / "scales.yaml"
    file.write_text(yaml.safe_dump(autoscaling("worker", {"CPU": 2}, at_most=4, head={"CPU": 0}, idle_minutes=0.2)))
    address = head(f"--autoscaling-config={file}")
    assert workers() == 0
    command = commands(tmp_path / "runs", "--address", address, "--gpus-per-trial", "0", train_steps=300)
    began, seen = time.monotonic(), [(0.0, 0)]
    process = command.start()
    ended = None
    while ended is None or (workers() and time.monotonic() - began < ended + 300):
        if ended is None and process.poll() is not None:
            ended = time.monotonic() - began
        if workers() != seen[-1][1]:
            seen.append((time.monotonic() - began, workers()))
        time.sleep(0.2)
    seen.append((time.monotonic() - began, workers()))
    with capsys.disabled():
        print(f"\n8 trials on 0 to 4 nodes, done after {ended:.0f} s; nodes by second:", end=" ")
        print(", ".join(f"{at:.0f} s: {nodes}" for at, nodes in seen))
    assert process.returncode == 0, command.text()
    assert max(nodes for _, nodes in seen) == 4
    assert seen[-1][1] == 0
    _, runs = command.runs()
    assert len(runs) == 8
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_a_job_that_is_submitted_runs_a_study_and_a_stranger_submits_none(head, commands, tmp_path):
    from ray.job_submission import JobStatus, JobSubmissionClient

    address = head("--include-dashboard=true")
    join(address, 2)
    command = commands(tmp_path / "runs", "--address", "auto", "--gpus-per-trial", "0", "--variants", "baseline")
    jobs = f"{DASHBOARD}/api/jobs/"
    assert wait_until(lambda: status(jobs, timeout_s=10), f"Ray's dashboard answers at {jobs}", 120, pause_s=1) == 401
    client = JobSubmissionClient(DASHBOARD)
    job = client.submit_job(entrypoint=shlex.join(command.line))
    while not (ended := client.get_job_status(job)).is_terminal():
        time.sleep(1)
    assert ended == JobStatus.SUCCEEDED, client.get_job_logs(job)
    _, runs = command.runs()
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(runs) == 4


def test_a_driver_without_the_token_is_told_in_one_line(head, commands, tmp_path):
    words = ("--address", head(), "--gpus-per-trial", "0")
    for wrong in ({"RAY_AUTH_TOKEN": secrets.token_hex()}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": ""}):
        command = commands(tmp_path / "runs", *words)
        command.environment = {"HOME": str(tmp_path), **wrong}
        refused = command.run(network=True)
        assert refused.returncode == 2, refused.stderr
        assert refused.stderr.splitlines()[-1].startswith(
            f"error: --address: the Ray cluster at {words[1]} wants its token"
        )
        assert "Traceback" not in refused.stderr
        assert "started" not in refused.stdout


def test_two_hundred_trials_on_eight_nodes(head, server, commands, tmp_path, capsys):
    address = head()
    for _ in range(8):
        join(address, 1)
    assert workers() == 8
    words = ["--address", address, "--gpus-per-trial", "0", "--tracking-uri", server.uri, "--variants", "cosine"]
    command = commands(tmp_path / "runs", *words, "--seeds", *map(str, range(40)))
    began = time.monotonic()
    process = command.start()
    watch = Watch(process, MlflowClient(server.uri))
    while process.poll() is None:
        watch.look(len(re.findall(r"-seed\d+: done", command.text())))
        time.sleep(0.5)
    wall_s = time.monotonic() - began
    with capsys.disabled():
        print(f"\n200 trials on 8 nodes of one machine: {wall_s:.0f} s\n{watch.told(200)}")
    assert process.returncode == 0, command.text()
    (experiment,) = [e for e in watch.client.search_experiments() if e.name.startswith("quick")]
    runs = watch.client.search_runs([experiment.experiment_id], "tags.seed LIKE '%'", max_results=1000)
    assert len(runs) == len({run.info.run_name for run in runs}) == 200
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(re.findall(r"-seed\d+: done", command.text())) == 200
    models = list((command.storage / "store" / "ddpm").iterdir())
    assert len(models) == 3 * 40
