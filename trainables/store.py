"""Artefacts by content: a stage's output is stored under the hash of everything that determines it.

    ROOT/STAGE/KEY/manifest.json    size and SHA-256 of each file, facts about the making, and a sum over both
    ROOT/STAGE/KEY/...              the files

An artefact is written beside and published by one rename (a local folder) or by its manifest, which goes last (an
object store), so that a reader never sees half of one. What does not match its manifest is set aside, never used.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

MANIFEST = "manifest.json"
METRICS = "metrics.json"  # of an artefact that gives figures: each by its name
BUCKETS = {"s3", "gs", "abfs"}  # fsspec's protocols for stores of objects


def hashed(value: Any) -> str:
    """A key of 20 hexadecimal digits for anything that JSON can say, the same whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def write_json(path: Path, value: object) -> None:
    """Writes what JSON can say, to be read by people too."""
    path.write_text(json.dumps(value, indent=1))


def away() -> tuple[type[Exception], ...]:
    """What is raised by a store that is full or away: OSError, and what the clients of S3 and HTTP have beside it."""
    clients = {"botocore.exceptions": "BotoCoreError", "aiohttp": "ClientError"}
    loaded = [(sys.modules[name], error) for name, error in clients.items() if name in sys.modules]
    return OSError, *(getattr(module, error) for module, error in loaded)


def checkpoint_folder(stage: str, key: str) -> str:
    """Where the checkpoints of an artefact in the making are, below the store's root."""
    return f"checkpoints/{stage}-{key}"


@dataclass(frozen=True)
class Artefact:
    """A published artefact whose files have been verified, as a local folder."""

    folder: Path
    facts: Mapping[str, Any]

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def json(self, name: str) -> Any:
        """The content of one of its JSON files."""
        return json.loads((self / name).read_text())


class Store:
    """Artefacts under `root`.

    Args:
        root: a local folder, or a URI that fsspec opens (`s3://bucket/prefix`, `memory://`, ...).
        cache: the local folder into which a remote store's artefacts are copied; not used by a local one.
    """

    def __init__(self, root: str | Path, cache: Path | None = None) -> None:
        self.fs, path = fsspec.core.url_to_fs(str(root))
        self.local = isinstance(self.fs, LocalFileSystem)
        self.root = os.path.abspath(path) if self.local else path.rstrip("/")
        self.cache = cache or Path(tempfile.gettempdir()) / "diffusion-ablations"

    def make_folder(self, path: str) -> None:
        """Makes the folder where there are such. A bucket has none, and to ask for one would make the bucket."""
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        if not protocols & BUCKETS:
            self.fs.makedirs(path, exist_ok=True)

    def has(self, stage: str, key: str) -> bool:
        """Whether the artefact has been published. Its files are verified by `find` alone."""
        self.fs.invalidate_cache()  # another machine may have published it since
        return bool(self.fs.exists(f"{self._path(stage, key)}/{MANIFEST}"))

    def manifest(self, stage: str, key: str) -> dict[str, Any]:
        """The artefact's manifest: its files' sizes and checksums, and the facts about its making."""
        content: dict[str, Any] = json.loads(self.fs.cat_file(f"{self._path(stage, key)}/{MANIFEST}"))
        return content

    def keys(self, stage: str) -> list[str]:
        """The keys of the stage's published artefacts, sorted."""
        return [name for name in self.begun(stage) if self.has(stage, name)]

    def begun(self, stage: str) -> list[str]:
        """The same with those that are not published, or not wholly removed: one listing, however many there are."""
        folder = f"{self.root}/{stage}"
        self.fs.invalidate_cache()
        if not self.fs.exists(folder):
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in self.fs.ls(folder, detail=False))

    def remove(self, stage: str, key: str = "") -> None:
        """Removes an artefact, or all of a stage's; what is not there is no error."""
        path = self._path(stage, key) if key else f"{self.root}/{stage}"
        if key and self.has(stage, key):
            # Without its manifest it is no artefact, so a removal that is cut short leaves no half of one.
            self.fs.rm_file(f"{path}/{MANIFEST}")
        if self.fs.exists(path):
            # A path is no pattern, but all but the local filesystem take it for one: [v2] would mean v, or 2.
            self.fs.rm(path if self.local else glob.escape(path), recursive=True)

    def find(self, stage: str, key: str) -> Artefact | None:
        """The artefact, verified; None where there is none or where it was damaged and has been set aside."""
        if not self.has(stage, key):
            return None
        path = self._path(stage, key)
        folder = Path(path) if self.local else self._fetched(stage, key)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            _check_sum(manifest)
            facts = dict(manifest["facts"])
            damaged = [name for name, entry in manifest["files"].items() if _entry(folder / name) != entry]
        except FileNotFoundError as error:
            damaged = [Path(error.filename).name]
        except (ValueError, KeyError, TypeError):
            damaged = [MANIFEST]
        if not damaged:
            return Artefact(folder, facts)
        self.set_aside(stage, key, ", ".join(damaged))
        return None

    @contextmanager
    def publish(self, stage: str, key: str, facts: dict[str, Any]) -> Iterator[Path]:
        """An empty folder to write the artefact's files to; it is published on leaving without an exception.

        Args:
            facts: kept in the manifest, for example `wall_time_s`; may still be filled inside the block.
        """
        parent = Path(self.root) if self.local else self.cache
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=parent))
        folder = scratch / "artefact"  # of the scratch folder nobody else may read
        folder.mkdir()
        try:
            yield folder
            files = {p.relative_to(folder).as_posix(): _entry(p) for p in sorted(folder.rglob("*")) if p.is_file()}
            content: dict[str, Any] = {"facts": facts, "files": files}
            content["sum"] = hashed(content)
            (folder / MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True))
            self._publish(folder, self._path(stage, key))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _publish(self, folder: Path, path: str) -> None:
        if self.local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            for file in folder.rglob("*"):
                _flush(file)
            if Path(path).exists():
                if Path(path, MANIFEST).exists():
                    return  # another trial published it first: by its key it is the same one
                os.rename(path, f"{folder}-remains")  # of an artefact without a manifest, which is none
            os.rename(folder, path)
            return
        self.fs.invalidate_cache()
        if self.fs.exists(f"{path}/{MANIFEST}"):
            return
        for file in sorted(folder.rglob("*"), key=lambda p: p.name == MANIFEST):
            if file.is_file():
                self.fs.put_file(str(file), f"{path}/{file.relative_to(folder).as_posix()}")

    def _fetched(self, stage: str, key: str) -> Path:
        folder = self.cache / hashed(self.root) / stage / key
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.fs.find(self._path(stage, key)):
            target = folder / name.removeprefix(self._path(stage, key)).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(name, str(target))
        return folder

    def set_aside(self, stage: str, key: str, why: str) -> None:
        """Moves an artefact that cannot be used out of the way, with a warning; nothing is deleted."""
        aside = f"{self.root}/damaged/{stage.replace('/', '-')}-{key}-{os.urandom(4).hex()}"
        warnings.warn(f"damaged artefact {stage}/{key} ({why}): set aside as {aside}", stacklevel=3)
        path = self._path(stage, key)
        if self.local:
            os.makedirs(f"{self.root}/damaged", exist_ok=True)
            os.rename(path, aside)
            return
        for file in self.fs.find(path):
            self.fs.cp_file(file, aside + file.removeprefix(path))
        self.remove(stage, key)

    def _path(self, stage: str, key: str) -> str:
        return f"{self.root}/{stage}/{key}"


def _check_sum(manifest: Any) -> None:
    """Passes if the manifest is as it was written; those of before it had a sum have nothing else in them.

    Raises:
        ValueError: it is not.
    """
    whole = isinstance(manifest, dict) and ("sum" not in manifest or manifest.pop("sum") == hashed(manifest))
    if not whole or manifest.keys() != {"facts", "files"}:
        raise ValueError("the manifest is not as it was written")


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _flush(path: Path) -> None:
    """Makes sure that the file is on the disk before it is published: a rename can outlive its content."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())
