"""Files of published weights: the published one or none. What is downloaded or found on disk must have its checksum."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from trainables.cache import cache_folder
from trainables.data import DataError

TIMEOUT_S = 30.0  # of silence while downloading
CHUNK = 8 << 20  # bytes between two lines about the download


@dataclass(frozen=True)
class Published:
    """A file of weights.

    Args:
        network: whose they are, in words.
        url: where the file is published; its last part is the file's name.
        sha256: of the file.
        variable: of the environment, which may name the file.
    """

    network: str
    url: str
    sha256: str
    variable: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where the file is, or is to be: the one that the variable names, else one in ABLATION_CACHE."""
        return Path(os.environ.get(self.variable) or cache_folder() / self.name).expanduser()

    def obtain(self) -> Path:
        """The file, checked; downloaded first where it is missing and no file is named.

        Raises:
            DataError: it is not there and cannot be downloaded, or it is another file.
        """
        path = self.path
        if path.is_file():
            self._verify(path, str(path))
        elif os.environ.get(self.variable):
            raise DataError(f"{self.variable} names {path}, and no file is there", self._remedy())
        else:
            self._download(path)
        return path

    def _download(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Under another name until it is whole: another process may look for it, or be downloading it as well.
            with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as folder:
                part = Path(folder, self.name)
                with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as response, part.open("wb") as file:
                    self._copy(response, file)
                self._verify(part, f"what {self.url} gave")
                part.replace(path)
        except (OSError, HTTPException) as error:
            problem = f"the {self.network} network cannot be brought to {path}: {error}"
            raise DataError(problem, self._remedy()) from error

    def _copy(self, response: Any, file: IO[bytes]) -> None:
        length = response.headers["Content-Length"]
        whole = f" of {int(length) / 1e6:.0f}" if length else ""
        while chunk := response.read(CHUNK):
            file.write(chunk)
            print(f"downloading {self.name}: {file.tell() / 1e6:.0f}{whole} MB", file=sys.stderr, flush=True)

    def _verify(self, file: Path, said: str) -> None:
        try:
            with file.open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{said} cannot be read: {error}", self._remedy()) from error
        if found != self.sha256:
            wanted = f"its SHA-256 must be {self.sha256}, but got {found}"
            raise DataError(f"{said} is not the published {self.network} network: {wanted}", self._remedy())

    def _remedy(self) -> list[str]:
        return [f"the file to have: {self.url}", f"put it at {self.path}, or set {self.variable} to where it is"]
