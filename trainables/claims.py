"""Claims: one maker at a time for what many may want, on any filesystem that lists what was written.

A claim is a file of its own below ROOT/claims/NAME/. A claimer writes its file, then looks: if it sees another live
one it takes its own away and has not got the claim. Of two that write before either looks, both see both and neither
gets it; they come again after a random while. A claim is live while its beat changes; one whose process has ended on
this machine is dead at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from trainables.store import Store, away

BEAT_S = 5.0
DEAD_AFTER_S = 30.0  # without a new beat
LOOK_S = 0.5  # between looks at a claim whose beat alone tells


class Claims:
    """The claims of one process on one store. It remembers what it saw, to tell a live claim from a dead one.

    Args:
        store: where the claims are kept.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[str, tuple[bytes, float]] = {}

    def claim(self, name: str) -> Claim | None:
        """The claim on `name`, or None while somebody else holds it."""
        mine = Claim(self.store, name)
        mine.beat()
        if self.holder(name, mine.path) is not None:
            mine.remove()
            return None
        mine.start()
        return mine

    def holder(self, name: str, mine: str = "") -> dict[str, Any] | None:
        """Who holds a live claim on `name`, other than the one at `mine`; dead claims are cleared away."""
        fs, folder = self.store.fs, f"{self.store.root}/claims/{name}"
        fs.invalidate_cache()
        for path in fs.ls(folder, detail=False) if fs.exists(folder) else []:
            path = str(path)
            if path.rpartition("/")[2] == mine.rpartition("/")[2]:
                continue
            try:
                content: bytes = fs.cat_file(path)
            except FileNotFoundError:  # given back in this moment
                continue
            if self._alive(path, content):
                return _owner(content) or {"host": "?", "pid": 0}
            _remove(self.store, path)
        return None

    def living_holder(self, name: str) -> dict[str, Any] | None:
        """Who holds the claim on `name` and is seen to live; it may take some seconds to tell a live claim from a dead.

        At first sight a claim of another machine counts as live, and so does one of this machine before it was
        started anew: only its beat tells, the next one or none for `DEAD_AFTER_S`.
        """
        first = self.holder(name)
        holder = first
        while holder is not None and holder == first and not is_here(holder):
            time.sleep(LOOK_S)
            holder = self.holder(name)
        return holder

    def _alive(self, path: str, content: bytes) -> bool:
        owner = _owner(content)
        if owner and owner["machine"] == _machine() and _process_start(owner["pid"]) != owner["started"]:
            return False
        before = self._seen.get(path)
        if before is None or before[0] != content:
            self._seen[path] = (content, time.monotonic())
            return True
        return time.monotonic() - before[1] < DEAD_AFTER_S


class Claim:
    """A claim that is held, and says so every few seconds until it is given back: `with claim: ...`."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.path = store, f"{store.root}/claims/{name}/{uuid.uuid4().hex}"
        self._beats, self._ended = 0, threading.Event()

    def beat(self) -> None:
        """Writes that the holder lives."""
        self._beats += 1
        owner = {
            "host": platform.node(),
            "machine": _machine(),
            "pid": os.getpid(),
            "started": _process_start(os.getpid()),
            "beat": self._beats,
        }
        self.store.make_folder(self.path.rpartition("/")[0])
        self.store.fs.pipe_file(self.path, json.dumps(owner).encode())

    def start(self) -> None:
        """Goes on beating, on a thread of its own."""
        threading.Thread(target=self._keep, name="claim", daemon=True).start()

    def remove(self) -> None:
        """Gives the claim back."""
        self._ended.set()
        _remove(self.store, self.path)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.remove()

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self.beat()
            except away():  # the others cannot see that the beat is missing either
                continue
        # The last beat and the end may have crossed.
        _remove(self.store, self.path)


def is_here(owner: dict[str, Any]) -> bool:
    """Whether the holder of a claim is a process of this machine, since it was last started."""
    return bool(owner.get("machine") == _machine())


def _owner(content: bytes) -> dict[str, Any] | None:
    try:
        owner = json.loads(content)
    except ValueError:  # read while it was being written
        return None
    return owner if isinstance(owner, dict) and "pid" in owner else None


def _remove(store: Store, path: str) -> None:
    with contextlib.suppress(*away()):  # gone already, or the store is away: without a beat it is dead in any case
        store.fs.rm_file(path)


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{platform.node()} {boot.read_text().strip() if boot.exists() else ''}"


def _process_start(pid: int) -> str:
    """When the process began, or "" if there is none: a number that is used again belongs to another process."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return "unknown"  # no /proc here: only the beat tells
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
