"""MLflow's page: started for real on loopback, refused where it cannot be."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import ports
import pytest
from mlflow import MlflowClient
from waiting import status, wait_until

from orchestrator.run import main


@pytest.fixture
def free_port():
    return ports.free_port()


@pytest.mark.parametrize("port", ["0", "-3", "70000"])
def test_a_port_that_cannot_be_is_refused(port, tmp_path, capsys):
    assert main(["ui", "--cluster", str(tmp_path / "cluster.yaml"), f"--port={port}"]) == 2
    assert capsys.readouterr().err == f"error: --port: must be 1 to 65535, but got {port}\n"


def test_the_page_answers_until_it_is_stopped(tmp_path, free_port):
    storage = tmp_path / "a [v2] #1"  # each of which means something else in an address or a pattern
    storage.mkdir()
    MlflowClient(f"sqlite:///{storage}/mlflow.db").create_experiment("mine")
    words = [sys.executable, "-m", "orchestrator.run", "ui", "--storage", str(storage), "--port", str(free_port)]
    lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    page = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | lean)
    try:
        line = page.stdout.readline()
        while f"http://127.0.0.1:{free_port}" not in line:
            assert line, "it ended"
            line = page.stdout.readline()
        assert status(f"http://127.0.0.1:{free_port}/health", timeout_s=20) == 200
        assert MlflowClient(f"http://127.0.0.1:{free_port}").get_experiment_by_name("mine")
    finally:
        page.send_signal(signal.SIGINT)
        page.wait(30)
    wait_until(lambda: closed(free_port), "the server ends with the command", 10)


def closed(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_page_that_cannot_be_is_refused_in_one_line(root, tmp_path, capsys, monkeypatch, free_port):
    monkeypatch.chdir(tmp_path)
    with ports.taken_port() as taken:
        port = str(taken)
        cases = [
            (["--storage", "empty"], "no study has been run in empty"),
            (["--cluster", "not-there.yaml", "--port", str(free_port)], "not-there.yaml (No such file or directory)"),
            (["--cluster", ".", "--port", str(free_port)], "cannot read ."),
            (["--cluster", str(root / "cluster.yaml"), "--port", port], f"{port} is in use"),
            (["--tracking-uri", f"http://127.0.0.1:{port}", "--port", str(free_port)], "open it in a browser"),
        ]
        for words, said in cases:
            assert main(["ui", *words]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert said in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no file for `ray up`"),
        ("torch==2.15.0\n", "is no file for `ray up`"),
        ("kind: RayJob\n", "is no file for `ray up`"),
        ("a: [\n", "is no YAML file"),
        ("a:\tb: c\n", "is no YAML file"),
    ],
)
def test_a_file_of_no_cluster_is_told_in_one_line(tmp_path, capsys, free_port, text, said):
    (tmp_path / "file.yaml").write_text(text)
    assert main(["ui", "--cluster", str(tmp_path / "file.yaml"), "--port", str(free_port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file.yaml") in line and said in line


def test_a_cluster_that_is_not_up_is_told_in_one_line(tmp_path, free_port):
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    words = ["ui", "--cluster", str(tmp_path / "cluster.yaml"), "--port", str(free_port)]
    own = {"RAY_TMPDIR": str(tmp_path), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.run", *words],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | own,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --cluster: there is no way to the head of") and "not found" in line


SSH = """#!/bin/sh
echo "$@" > {pid}.words
echo $$ > {pid}.new && mv {pid}.new {pid}
exec sleep 600
"""
CLUSTER = """
cluster_name: here
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
auth: {ssh_user: nobody}
setup_commands: [MLFLOW_PORT=5077 > settings.sh]
"""
HEAD = {"tags": {"ray-node-type": "head", "ray-node-status": "up-to-date"}, "state": "running"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the ssh in /proc")
def test_a_tunnel_ends_with_the_command(tmp_path, free_port, monkeypatch):
    from ray.autoscaler._private.local.config import get_state_path

    for name, value in {"RAY_TMPDIR": tmp_path, "TMPDIR": tmp_path, "PATH": f"{tmp_path}:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(name, str(value))
    pid, cluster = tmp_path / "pid", tmp_path / "cluster.yaml"
    (tmp_path / "ssh").write_text(SSH.format(pid=pid))
    (tmp_path / "ssh").chmod(0o755)
    cluster.write_text(CLUSTER)
    state = Path(get_state_path("here"))
    state.parent.mkdir(exist_ok=True)
    state.write_text(json.dumps({"127.0.0.1": HEAD}))
    words = ["ui", "--cluster", str(cluster), "--port", str(free_port)]
    page = subprocess.Popen([sys.executable, "-m", "orchestrator.run", *words])
    wait_until(pid.exists, "an ssh begins", 60)
    assert f"-L {free_port}:localhost:5077" in Path(f"{pid}.words").read_text()
    page.terminate()
    page.wait(60)
    ssh = Path("/proc") / pid.read_text().strip()
    try:
        wait_until(lambda: not ssh.exists(), "the ssh ends with the command", 10)
    finally:
        if ssh.exists():
            os.kill(int(ssh.name), signal.SIGKILL)
