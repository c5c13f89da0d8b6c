"""Small trees of images and masks, a cache folder that is no one's, and a count of what is done to each file."""

from __future__ import annotations

import hashlib
import io
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from trainables.data import reading


class Tree:
    """Files under `root`, of which a test breaks one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def image(self, name: str, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
        """Noise that depends on the name, (W, H)."""
        noise = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).convert(mode).save(self.path(name))
        return self.root / name

    def mask(self, name: str, numbers: tuple[int, ...] = (0, 1, 255), size: tuple[int, int] = (12, 10)) -> Path:
        """The numbers in turn, as palette indices or .npy."""
        values = np.resize(np.array(numbers, np.uint8), (size[1], size[0]))
        if name.endswith(".npy"):
            np.save(self.path(name), values)
            return self.root / name
        image = Image.fromarray(values)
        image.putpalette([component for i in range(256) for component in (i, 255 - i, i // 2)])
        image.save(self.path(name))
        return self.root / name

    def text(self, name: str, *lines: str) -> Path:
        self.path(name).write_text("\n".join(lines) + "\n")
        return self.root / name


@dataclass
class Looks:
    """How often each file's content was hashed, and its head looked at before it is decoded."""

    hashed: Counter[Path] = field(default_factory=Counter)
    heads: Counter[Path] = field(default_factory=Counter)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    found, file_digest = Looks(), hashlib.file_digest

    def hashed(file: Any, digest: str) -> Any:
        found.hashed[Path(file.name)] += 1
        return file_digest(file, digest)

    def counted(look: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def head(path: Path) -> Any:
            found.heads[path] += 1
            return look(path)

        return head

    monkeypatch.setattr(hashlib, "file_digest", hashed)
    for name in ("image_head", "mask_head"):
        monkeypatch.setattr(reading, name, counted(getattr(reading, name)))
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "data")


@pytest.fixture
def folder_tree(tree: Tree) -> Tree:
    """A folder of ten images with masks of the classes 0 and 1."""
    for i in range(10):
        tree.image(f"images/{i}.png")
        tree.mask(f"masks/{i}.png")
    return tree


class Response(io.BytesIO):
    """What urlopen gives."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.url, self.length = None, len(content)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], list[str]]:
    """Serves files by the last part of their address, and returns the addresses that are asked for."""

    def begin(content: dict[str, bytes]) -> list[str]:
        asked = []

        def urlopen(request: Any, *_: Any, **__: Any) -> Response:
            asked.append(request.full_url)
            name = request.full_url.rpartition("/")[2]
            if name not in content:
                raise URLError("no route to host")
            return Response(content[name])

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        return asked

    return begin


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
