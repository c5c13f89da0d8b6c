"""What a machine's environment must have: told in one line, before anything is made."""

import os
import subprocess
import tempfile

import pytest

from orchestrator.errors import UsageError
from orchestrator.preflight import surroundings
from orchestrator.preflight.surroundings import check_surroundings
from orchestrator.run import main


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A HOME and a folder of Ray's that are well, for each test to spoil."""
    for name in ("ABLATION_CACHE", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with tempfile.TemporaryDirectory(prefix="sur-", dir="/tmp") as folder:  # a socket's path must be short
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


def refused():
    with pytest.raises(UsageError) as error:
        check_surroundings("local")
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_surroundings_that_are_well_pass():
    check_surroundings("local")


def test_a_path_too_long_for_rays_sockets_is_refused_and_the_next_shorter_one_is_not(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 100)))
    most = int(refused().partition("take a path of ")[2].split()[0])
    for length, well in ((most, True), (most + 1, False)):
        folder = tempfile.mkdtemp(prefix="", dir="/tmp")
        monkeypatch.setenv("TMPDIR", f"{folder}/{'x' * (length - len(folder) - 1)}")
        if well:
            check_surroundings("local")
        else:
            assert refused().startswith("TMPDIR: Ray's sockets take a path of")
        subprocess.run(["rm", "-r", folder], check=True)
    check_surroundings("127.0.0.1:6379")  # joins a Ray that has its own


def test_the_limit_is_rays_own(tmp_path, monkeypatch):
    from ray._private.utils import validate_socket_filepath

    session = f"session_2026-01-01_00-00-00_000000_{os.getpid()}"
    most = surroundings.SOCKET_LIMIT - len(f"/ray/{session}/sockets/plasma_store")
    validate_socket_filepath(f"{'x' * most}/ray/{session}/sockets/plasma_store")
    with pytest.raises(OSError, match="cannot exceed"):
        validate_socket_filepath(f"{'x' * (most + 1)}/ray/{session}/sockets/plasma_store")


def test_a_folder_of_rays_that_is_not_ours_to_write_in_is_refused(tmp_path, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sur-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        os.mkdir(f"{folder}/ray", 0o755)
        if os.geteuid() == 0:  # whom nothing is forbidden
            real = tempfile.TemporaryFile

            def forbidden(dir):
                if str(dir) == f"{folder}/ray":
                    raise PermissionError(13, "Permission denied")
                return real(dir=dir)

            monkeypatch.setattr(surroundings.tempfile, "TemporaryFile", forbidden)
        else:
            os.chmod(f"{folder}/ray", 0o555)
        assert refused().startswith(f"RAY_TMPDIR: Ray cannot write to {folder}/ray (Permission denied); let RAY_TMPDIR")


def test_a_home_that_is_not_known_or_takes_nothing_is_refused_unless_the_cache_is_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "file").touch()  # below a file there can be no folder, for root neither
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    assert refused().startswith("HOME: cannot write to") and "let ABLATION_CACHE name a folder" in refused()
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "file" / "cache"))
    assert refused().startswith(f"ABLATION_CACHE: cannot write to {tmp_path}/file/cache")
    monkeypatch.setenv("ABLATION_CACHE", str(tmp_path / "cache"))
    check_surroundings("local")


@pytest.mark.parametrize("words", [["ablations"], ["ablations", "--dry-run"], ["search", "--space=segmentation"]])
def test_a_user_without_a_home_is_told(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a number that no user of the machine has
    assert main([*words, "--trials=1"] if words[0] == "search" else words) == 2
    assert capsys.readouterr().err == "error: HOME: is not set; let ABLATION_CACHE name a folder for the cache\n"
    assert not list(tmp_path.iterdir())
