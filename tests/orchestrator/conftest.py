"""The command as a process of its own, its records in MLflow, and the processes that it leaves."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from mlflow import MlflowClient
from moved_storage import tell_mlflow
from ports import free_port
from processes import started_with
from waiting import wait_for_answer

# What Ray asks of a file that is not `ray up`'s.
NOTHING = {
    "file_mounts_sync_continuously": False,
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{
        name: []
        for name in (
            "cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands",
            "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
        )
    },
}  # fmt: skip
COMMAND = [sys.executable, "-m", "orchestrator.run"]
MARK = "ABLATION_TEST_MARK"
OF_TRIALS = "tags.seed LIKE '%'"  # MLflow's filter: summary runs have no seed


def offline() -> list[str]:
    """Words before a command that leave it nothing but loopback; none where this user may not do so."""
    words = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    able = shutil.which("unshare") and shutil.which("ip")
    return words if able and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else []


@dataclass
class Command:
    """A command on one storage folder, as often as a test likes."""

    storage: Path
    words: list[str]
    name: str = "ablations"
    environment: dict[str, str] = field(default_factory=dict)
    begun: ClassVar[list[tuple[subprocess.Popen, str]]] = []
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    program: list[str] = field(default_factory=lambda: COMMAND)

    def run(self, *more: str, network: bool = False) -> subprocess.CompletedProcess:
        """Runs it to its end."""
        before = [] if network else offline()
        return subprocess.run(
            [*before, *self.line, *more],
            capture_output=True, text=True, timeout=280, check=False, env=self._environment(),
        )  # fmt: skip

    def start(self, *more: str) -> subprocess.Popen:
        """Starts it, as the head of a process group of its own; its words go to the file `out`."""
        self.storage.mkdir(exist_ok=True)
        with self.out.open("a") as out:
            process = subprocess.Popen(
                [*self.line, *more],
                stdout=out, stderr=out, env=self._environment(), start_new_session=True,
            )  # fmt: skip
        self.begun.append((process, self.mark))
        return process

    @property
    def line(self) -> list[str]:
        return [*self.program, self.name, "--storage", str(self.storage), *self.words]

    @property
    def out(self) -> Path:
        return self.storage / "out"

    def text(self) -> str:
        return self.out.read_text() if self.out.exists() else ""

    def processes(self, title: str = "") -> list[int]:
        """The living processes that come from this command and have `title` in their command line."""
        return [pid for pid, line in started_with(f"{MARK}={self.mark}").items() if title in line]

    def runs(self, uri: str = ""):
        """MLflow's client and the runs of the study's trials by name; two of one name fail.

        Args:
            uri: of MLflow's server, where the study wrote to one.
        """
        client = MlflowClient(uri or f"sqlite:///{self.storage}/mlflow.db")
        (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
        runs = client.search_runs([experiment.experiment_id], OF_TRIALS)
        assert len({run.info.run_name for run in runs}) == len(runs)
        return client, {run.info.run_name: run for run in runs}

    def _environment(self) -> dict[str, str]:
        return os.environ | self.environment | {MARK: self.mark}


class Server:
    """A lean MLflow server on loopback that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder, self.uri = folder, f"http://127.0.0.1:{self.port}"
        self.files = folder

    def start(self) -> None:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "-w", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        words += ["--artifacts-destination", str(self.files)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        wait_for_answer(f"{self.uri}/health", "the MLflow server", 60, self.process)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def new_server(tmp_path):
    """An MLflow server that a test starts."""
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def server(new_server):
    """An MLflow server that has started."""
    new_server.start()
    return new_server


@pytest.fixture(autouse=True)
def nothing_goes_on():
    """A study whose test has failed would train on beside all the tests after it."""
    yield
    for process, mark in Command.begun:
        if process.poll() is None:
            process.kill()
            for pid in started_with(f"{MARK}={mark}"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
    Command.begun.clear()


@pytest.fixture(scope="session")
def commands(tiny_words):
    """Makes commands of the tiny study on a storage folder; `train_steps` makes its trainings longer."""
    return lambda storage, *more, name="ablations", **longer: Command(storage, [*tiny_words(**longer), *more], name)


@pytest.fixture(scope="session")
def finished(commands, tmp_path_factory):
    """A study of the baseline and cosine at its end, for all tests: what goes on from it takes a copy."""
    command = commands(tmp_path_factory.mktemp("finished") / "runs", "--variants", "cosine")
    done = command.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return command


@pytest.fixture
def copied(tmp_path):
    """Makes the same command on a copy of its folder."""

    def made(command):
        storage = tmp_path / "runs"
        shutil.copytree(command.storage, storage)
        tell_mlflow(storage, str(command.storage))
        return Command(storage, list(command.words), command.name)

    return made


@pytest.fixture(scope="session")
def autoscaling():
    """Makes the file of an autoscaler whose nodes are processes of this machine."""
    return scaled


def scaled(
    name: str, resources: dict[str, float], at_most: int, head: dict[str, float], idle_minutes: float = 1
) -> dict[str, object]:
    return NOTHING | {
        "cluster_name": "test",
        "max_workers": at_most,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": head, "node_config": {}, "max_workers": 0},
            name: {"resources": resources, "node_config": {}, "max_workers": at_most},
        },
        "idle_timeout_minutes": idle_minutes,
        "upscaling_speed": 1.0,
    }
