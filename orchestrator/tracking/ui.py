"""MLflow's page: of this machine's studies, or through a tunnel of a cluster's."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml

from orchestrator.console import console
from orchestrator.errors import UsageError

CLUSTER_PORT = 5000  # of MLflow on a cluster's head, unless its file says MLFLOW_PORT
START_LIMIT_S = 120.0


def run(tracking_uri: str, port: int, cluster: Path | None) -> int:
    """The exit code of the page's server or tunnel, which run until the person stops them.

    Args:
        tracking_uri: of the studies on this machine; not used with a cluster.
        port: of the page on this machine.
        cluster: the file that the cluster was started from.

    Raises:
        UsageError: the port is taken, or the cluster's file is none.
    """
    if not 1 <= port <= 65535:
        raise UsageError(f"--port: must be 1 to 65535, but got {port}")
    words = _local(tracking_uri, port) if cluster is None else _tunnel(cluster, port)
    if _answers(port):
        raise UsageError(f"--port: {port} is in use on this machine; choose another")
    server = subprocess.Popen(words, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    try:
        if _wait(server, port):
            console().print(f"MLflow is at http://127.0.0.1:{port} until Ctrl-C", soft_wrap=True)
        return server.wait()
    finally:
        # Of SIGTERM Ray's command would die at once and leave its ssh, and with it the tunnel.
        server.send_signal(signal.SIGTERM if cluster is None else signal.SIGINT)
        server.wait()


def refuse_server(tracking_uri: str) -> None:
    """Passes if the runs have no page yet: a server has one.

    Raises:
        UsageError: it is a server's address.
    """
    if tracking_uri.startswith("http"):
        raise UsageError(f"--tracking-uri: {tracking_uri} is a server with a page of its own; open it in a browser")


def _local(tracking_uri: str, port: int) -> list[str]:
    mlflow = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri]
    return [*mlflow, "--host", "127.0.0.1", "--port", str(port)]


def _tunnel(cluster: Path, port: int) -> list[str]:
    """Ray's ssh to the head, with the port of its MLflow brought here."""
    try:
        config = yaml.safe_load(cluster.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--cluster: cannot read {cluster} ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        problem = str(error).splitlines()
        raise UsageError(f"--cluster: {cluster} is no YAML file ({problem[0]}{problem[-1]})") from None
    if not isinstance(config, dict) or not {"cluster_name", "provider"} <= config.keys():
        raise UsageError(f"--cluster: {cluster} is no file for `ray up`: it has no cluster_name or no provider")
    heads_port = re.search(r"\bMLFLOW_PORT=(\d+)", str(config))
    heads = heads_port[1] if heads_port else str(CLUSTER_PORT)
    return [sys.executable, "-m", "orchestrator.tracking.tunnel", str(cluster), str(port), heads]


def _wait(server: subprocess.Popen[bytes], port: int) -> bool:
    """Whether the port answers before the process ends."""
    deadline = time.monotonic() + START_LIMIT_S
    while server.poll() is None and time.monotonic() < deadline:
        if _answers(port):
            return True
        time.sleep(0.2)
    return False


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
