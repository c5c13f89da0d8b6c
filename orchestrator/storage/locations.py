"""Where a study's things are kept, and whether they can be."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError
from trainables.store import Store

GREETING_LIMIT_S = 10.0


@dataclass(frozen=True)
class Locations:
    """Where a study's things are kept.

    Args:
        storage: the folder of everything that is not given another place.
        tracking_uri: MLflow's.
        store: the root of the artefacts, an absolute path or a URI.
    """

    storage: Path
    tracking_uri: str
    store: str

    @property
    def artifacts(self) -> Path:
        """The folder of MLflow's files, where its database is of this machine."""
        return self.storage / "mlflow-artifacts"

    def study(self, name: str) -> Path:
        """The study's own folder: its log, table, report and pictures."""
        return self.storage / "studies" / name

    def study_file(self, name: str) -> Path:
        """The study as a file, as it was last run."""
        return self.study(name) / "study.yaml"


def check_storage(storage: Path, make: bool = True) -> None:
    """Makes the folder, if it is not there, and proves that it can be written to.

    Args:
        make: whether anything may be written; else what is there is looked at.

    Raises:
        UsageError: it cannot.
    """
    try:
        _refuse_unwritable(storage)
        if make:
            try_to_write(storage)
    except OSError as error:
        raise UsageError(f"--storage: cannot write to {storage} ({error.strerror})") from None


def try_to_write(folder: Path) -> None:
    """Makes the folder, if it is not there, and a file in it that is gone at once.

    Raises:
        OSError: it takes none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _refuse_unwritable(folder: Path) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_address(address: str) -> None:
    """Passes if something answers where the Ray cluster should be.

    Raises:
        UsageError: an address of another form, or nothing there.
    """
    if address in ("local", "auto"):
        return
    if address.startswith("ray://"):
        # Ray's client would move the scheduler to the head and leave what it tells us behind.
        raise UsageError(
            "--address: a study's driver runs on the cluster's head and outlives this machine: give the command with "
            f"--address auto to `ray exec --tmux` or `ray job submit` (docs/cluster.md), in place of {address}"
        )
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UsageError(f"--address: must be local, auto or HOST:PORT, but got {address!r}")
    try:
        with socket.create_connection((host, int(port)), timeout=3) as connection:
            other = not _greets_as_ray(connection)
    except OSError as error:
        raise UsageError(f"--address: no Ray cluster answers at {address} ({error})") from None
    if other:
        raise UsageError(f"--address: what answers at {address} is no Ray cluster; a head's port is 6379 by default")


def _greets_as_ray(connection: socket.socket) -> bool:
    """Whether the other side begins to speak, with HTTP/2's settings as gRPC does: Ray waits for others without end."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false"):  # then it waits to be spoken to
        return True
    connection.settimeout(GREETING_LIMIT_S)
    try:
        return connection.recv(9)[3:4] == b"\x04"
    except TimeoutError:
        return False


def default_store(storage: Path) -> str:
    """The folder of artefacts in the storage folder."""
    return str(storage.resolve() / "store")


def opened_store(root: str) -> Store:
    """The store at `root`; nothing is read or written yet.

    Raises:
        UsageError: no filesystem is known for the URI.
    """
    if root.startswith("memory:"):
        raise UsageError("--store: memory:// is not shared between processes; must be a folder or another URI")
    try:
        return Store(root)
    except (ImportError, ValueError) as error:
        raise UsageError(f"--store: must be a folder or a URI that fsspec opens, but got {root!r} ({error})") from None


def check_readable(root: str, made: bool = False) -> None:
    """Passes if what a store at `root` holds can be asked for; nothing is written.

    Args:
        made: whether there must be a store already.

    Raises:
        UsageError: it cannot, or there is none.
    """
    store = opened_store(root)
    try:
        there = bool(store.fs.exists(store.root))
    except Exception as error:  # each filesystem has errors of its own
        raise UsageError(f"--store: cannot read {root} ({type(error).__name__}: {error})") from None
    if store.local and there and not os.path.isdir(store.root):
        raise UsageError(f"--store: {root} is no folder")
    if made and store.local and not there:  # a bucket has no folders that could be missing
        raise UsageError(f"--store: there is no store at {root}")


def check_store(root: str) -> str:
    """The root, made absolute, after a file was written, read and removed there.

    Raises:
        UsageError: it cannot be used from here.
    """
    store = opened_store(root)
    probe = f"{store.root}/probe-{uuid.uuid4().hex}"
    try:
        store.make_folder(store.root)
        store.fs.pipe_file(probe, b"probe")
        back = store.fs.cat_file(probe)
        store.fs.rm_file(probe)
    except Exception as error:  # each filesystem has errors of its own
        raise UsageError(f"--store: cannot write to {root} ({type(error).__name__}: {error})") from None
    if back != b"probe":
        raise UsageError(f"--store: {root} does not give back what was written")
    return store.root if store.local else root.rstrip("/")


def default_uri(storage: Path) -> str:
    """The SQLite database beside the store."""
    return f"sqlite:///{storage.resolve() / 'mlflow.db'}"
