"""Which studies refer to which artefacts: one small file a study, in the store itself, so that all its users see it.

    ROOT/studies/NAME.json    {"generation": 0, "artefacts": [["ddpm", KEY], ...]}

`--fresh` begins a new generation of a study: its artefacts go below ROOT/fresh-1, ROOT/fresh-2, ..., and nothing is
deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.planning.plan import Trial
from trainables.stages import BY_NAME
from trainables.store import Store, checkpoint_folder


@dataclass(frozen=True)
class Entry:
    """One artefact in a store: its generation's root, its size, when it was made, and the studies that refer to it."""

    root: str
    stage: str
    key: str
    bytes: int
    made: datetime
    studies: tuple[str, ...]


class Registry:
    """The studies and artefacts of one store.

    Args:
        root: the store's root, a folder or a URI.
    """

    def __init__(self, root: str) -> None:
        self.root, self.store = root, Store(root)

    def generation(self, study: str) -> int:
        """The study's current generation, 0 for one that was never begun afresh."""
        return int(self._read(study).get("generation", 0))

    def root_of(self, generation: int) -> str:
        """The root of a generation's artefacts."""
        return f"{self.root.rstrip('/')}/fresh-{generation}" if generation else self.root

    def enter(self, study: str, generation: int, trials: Iterable[Trial]) -> None:
        """Notes what the study refers to, beside what it referred to before in this generation."""
        old = self._read(study)
        before = old["artefacts"] if old.get("generation") == generation else []
        needed = {(stage, key) for trial in trials for stage, key in trial.stages.items()} | {tuple(a) for a in before}
        content = {"generation": generation, "artefacts": sorted(needed)}
        self.store.make_folder(f"{self.store.root}/studies")
        self.store.fs.pipe_file(self._path(study), json.dumps(content, indent=1).encode())

    def forget(self, study: str) -> bool:
        """Takes the study's references away; whether there were any. Its artefacts stay until they are pruned."""
        known = bool(self.store.fs.exists(self._path(study)))
        if known:
            self.store.fs.rm_file(self._path(study))
        return known

    def studies(self) -> list[str]:
        """The names of the studies that refer to this store, sorted."""
        folder = f"{self.store.root}/studies"
        if not self.store.fs.exists(folder):
            return []
        return sorted(str(p).rpartition("/")[2].removesuffix(".json") for p in self.store.fs.ls(folder, detail=False))

    def entries(self) -> Iterator[Entry]:
        """Every artefact, stage by stage."""
        referring: dict[tuple[int, str, str], list[str]] = {}
        for study in self.studies():
            content = self._read(study)
            for stage, key in content.get("artefacts", []):
                referring.setdefault((content["generation"], stage, key), []).append(study)
        for generation in self._generations():
            store = Store(self.root_of(generation))
            for stage in BY_NAME:
                for key in store.keys(stage):
                    files = store.fs.find(f"{store.root}/{stage}/{key}", detail=True).values()
                    made = max(_modified(file) for file in files)
                    size = sum(int(file["size"]) for file in files)
                    studies = tuple(referring.get((generation, stage, key), ()))
                    yield Entry(self.root_of(generation), stage, key, size, made, studies)

    def prune(self) -> list[Entry]:
        """The artefacts that no study referred to, which are now removed with what had been set aside."""
        gone = [entry for entry in self.entries() if not entry.studies]
        for entry in gone:
            Store(entry.root).remove(entry.stage, entry.key)
            Store(entry.root).remove(checkpoint_folder(entry.stage, entry.key))
        for generation in self._generations():
            Store(self.root_of(generation)).remove("damaged")
        return gone

    def _generations(self) -> list[int]:
        folders = self.store.fs.ls(self.store.root, detail=False) if self.store.fs.exists(self.store.root) else []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in folders]
        return [0, *sorted(int(name.removeprefix("fresh-")) for name in names if name.startswith("fresh-"))]

    def _read(self, study: str) -> dict[str, Any]:
        if not self.store.fs.exists(self._path(study)):
            return {}
        content: dict[str, Any] = json.loads(self.store.fs.cat_file(self._path(study)))
        return content

    def _path(self, study: str) -> str:
        return f"{self.store.root}/studies/{study}.json"


def _modified(file: dict[str, Any]) -> datetime:
    """When the file was last written; filesystems name and type it differently."""
    at = file.get("mtime") or file.get("LastModified") or file.get("created") or 0
    return at if isinstance(at, datetime) else datetime.fromtimestamp(float(at), UTC)
