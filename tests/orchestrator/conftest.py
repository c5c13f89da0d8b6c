"""The command as a process of its own, its records in MLflow, and the processes that it leaves."""

import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mlflow import MlflowClient

COMMAND = [sys.executable, "-m", "orchestrator.run"]
MARK = "ABLATION_TEST_MARK"


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
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, *more: str, network: bool = False) -> subprocess.CompletedProcess:
        """Runs it to its end."""
        before = [] if network else offline()
        return subprocess.run(
            [*before, *COMMAND, self.name, "--storage", str(self.storage), *self.words, *more],
            capture_output=True, text=True, timeout=280, check=False, env=self._environment(),
        )  # fmt: skip

    def start(self, *more: str) -> subprocess.Popen:
        """Starts it, as the head of a process group of its own; its words go to the file `out`."""
        self.storage.mkdir(exist_ok=True)
        with self.out.open("a") as out:
            return subprocess.Popen(
                [*COMMAND, self.name, "--storage", str(self.storage), *self.words, *more],
                stdout=out, stderr=out, env=self._environment(), start_new_session=True,
            )  # fmt: skip

    @property
    def out(self) -> Path:
        return self.storage / "out"

    def text(self) -> str:
        return self.out.read_text() if self.out.exists() else ""

    def processes(self, title: str = "") -> list[int]:
        """The living processes that come from this command and have `title` in their command line."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                ours = f"{MARK}={self.mark}".encode() in environ.read_bytes()
                if ours and title.encode() in (environ.parent / "cmdline").read_bytes():
                    found.append(int(environ.parent.name))
            except OSError:  # it has just ended, or is another user's
                continue
        return found

    def runs(self):
        """MLflow's client and the study's runs by name; two of one name fail."""
        client = MlflowClient(f"sqlite:///{self.storage}/mlflow.db")
        (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
        runs = client.search_runs([experiment.experiment_id])
        assert len({run.info.run_name for run in runs}) == len(runs)
        return client, {run.info.run_name: run for run in runs}

    def _environment(self) -> dict[str, str]:
        return os.environ | self.environment | {MARK: self.mark}


@pytest.fixture(scope="session")
def commands(tiny_words):
    """Makes commands of the tiny study on a storage folder."""
    return lambda storage, *more, name="ablations": Command(storage, [*tiny_words, *more], name)
