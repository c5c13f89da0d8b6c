"""Files of published weights: found, named, downloaded, refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from ports import free_port

from trainables.data import DataError
from trainables.evaluation import published
from trainables.evaluation.fid import FILES
from trainables.evaluation.published import Published

CONTENT = b"weights of a network"


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    for file in FILES.values():
        monkeypatch.delenv(file.variable, raising=False)


@pytest.fixture(params=sorted(FILES))
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Published:
    """One of the published files, with another content at a URL that answers."""
    ours = FILES[request.param]
    source = tmp_path / "published" / ours.name
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    return replace(ours, url=source.as_uri(), sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def named(file: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the variable points: nothing is there."""
    path = tmp_path / "elsewhere.pt"
    monkeypatch.setenv(file.variable, str(path))
    return path


@pytest.fixture
def _no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(published.urllib.request, "urlopen", refused)


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_path_is_in_the_cache_or_the_file_that_is_named(file: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_CACHE", "/somewhere")
    assert file.path == Path("/somewhere") / file.name
    monkeypatch.setenv("ABLATION_CACHE", "")
    assert file.path == Path.home() / ".cache/diffusion-ablations" / file.name
    monkeypatch.setenv(file.variable, "~/another.pt")
    assert file.path == Path.home() / "another.pt"


def test_downloads_once_and_says_so(file: Published, capsys: pytest.CaptureFixture[str]) -> None:
    path = file.obtain()
    assert path == file.path
    assert path.read_bytes() == CONTENT
    assert _left(path.parent) == [file.name]
    told = capsys.readouterr()
    assert f"downloading {file.name}" in told.err and told.out == ""
    assert file.obtain() == path
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_no_download")
def test_takes_the_file_that_is_named(file: Published, named: Path) -> None:
    named.write_bytes(CONTENT)
    assert file.obtain() == named


def test_offline_says_what_to_do(file: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    file = replace(file, url=f"http://127.0.0.1:{free_port()}/{file.name}")
    with pytest.raises(DataError) as caught:
        file.obtain()
    for part in (file.url, str(file.path), file.variable, file.network, "refused"):
        assert part in str(caught.value)
    assert _left(file.path.parent) == []


@pytest.mark.usefixtures("_no_download")
def test_missing_named_file_is_an_error_that_says_what_to_do(file: Published, named: Path) -> None:
    with pytest.raises(DataError) as caught:
        file.obtain()
    for part in (file.url, str(named), file.variable):
        assert part in str(caught.value)


@pytest.mark.usefixtures("_no_download")
@pytest.mark.parametrize("by_name", [True, False], ids=["named", "in the cache"])
def test_another_file_is_refused_and_left_alone(
    file: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_name: bool
) -> None:
    if by_name:
        monkeypatch.setenv(file.variable, str(tmp_path / "another.pt"))
    path, other = file.path, b"another network"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(other)
    with pytest.raises(DataError) as caught:
        file.obtain()
    sums = (file.sha256, hashlib.sha256(other).hexdigest())
    for part in (file.url, str(path), file.variable, f"not the published {file.network} network", *sums):
        assert part in str(caught.value)
    assert path.read_bytes() == other


def test_damaged_download_is_refused_and_not_kept(file: Published) -> None:
    damaged = replace(file, sha256="0" * 64)
    with pytest.raises(DataError, match=f"not the published {file.network} network"):
        damaged.obtain()
    assert _left(damaged.path.parent) == []


def test_cache_that_cannot_be_made_is_an_error_that_says_what_to_do(
    file: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=file.variable):
        file.obtain()


def test_each_network_has_a_file_and_a_variable_of_its_own() -> None:
    assert len({file.variable for file in FILES.values()}) == len({file.name for file in FILES.values()}) == len(FILES)
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in FILES.values())
