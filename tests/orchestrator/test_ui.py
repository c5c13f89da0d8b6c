"""MLflow's page: started for real on loopback, refused where it cannot be."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from orchestrator.run import main


@pytest.fixture
def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_page_answers_until_it_is_stopped(tmp_path, free_port):
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    words = [sys.executable, "-m", "orchestrator.run", "ui", "--storage", str(tmp_path), "--port", str(free_port)]
    lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    page = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | lean)
    try:
        line = page.stdout.readline()
        while f"http://127.0.0.1:{free_port}" not in line:
            assert line, "it ended"
            line = page.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/health", timeout=20) as answer:
            assert answer.status == 200
    finally:
        page.send_signal(signal.SIGINT)
        page.wait(30)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", free_port)):
                return
        time.sleep(0.1)
    pytest.fail("the server outlived the command")


def test_a_page_that_cannot_be_is_refused_in_one_line(tmp_path, capsys, monkeypatch, free_port):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            (["--storage", "empty"], "no study has been run in empty"),
            (["--cluster", "not-there.yaml", "--port", str(free_port)], "not-there.yaml"),
            (["--cluster", "not-there.yaml", "--port", port], f"{port} is in use"),
        ]
        for words, said in cases:
            assert main(["ui", *words]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert said in line
    assert not list(tmp_path.iterdir())
