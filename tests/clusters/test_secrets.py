"""Secrets are made once, for their owner alone, and shown to nobody."""

import re
import stat
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "clusters" / "secrets.sh"


def run(home, *files):
    return subprocess.run(
        [SCRIPT, *files], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(home)}
    )


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_is_the_token_where_ray_looks_for_it(tmp_path):
    answer = run(tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    token = tmp_path / ".ray" / "auth_token"
    assert re.fullmatch("[0-9a-f]{64}", token.read_text())
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert list(token.parent.iterdir()) == [token]


def test_no_two_are_alike(tmp_path):
    run(tmp_path, tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_what_is_there_stays_and_is_closed_to_others(tmp_path):
    token = tmp_path / "token"
    token.write_text("made by Ray, which lets everyone read it")
    token.chmod(0o644)
    answer = run(tmp_path, token)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert token.read_text() == "made by Ray, which lets everyone read it"
    assert mode(token) == 0o600


def test_of_many_at_once_one_makes_it(tmp_path):
    token = tmp_path / "token"
    many = [subprocess.Popen([SCRIPT, token], env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}) for _ in range(8)]
    seen = set()
    while any(one.poll() is None for one in many):
        seen |= {token.read_text()} if token.exists() else set()
    assert [one.returncode for one in many] == [0] * 8
    assert seen | {token.read_text()} == {token.read_text()}
    assert list(tmp_path.iterdir()) == [token]


def test_an_empty_file_is_no_secret_and_neither_is_a_folder(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "folder").mkdir(0o755)
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("empty", "blank", "folder", "link"):
        answer = run(tmp_path, tmp_path / name)
        assert answer.returncode == 1
        assert answer.stderr.startswith(f"secrets.sh: {tmp_path}/{name} is no file with a secret in it")
    assert mode(tmp_path / "folder") == 0o755


def test_a_question_is_answered_and_nothing_made(tmp_path):
    answer = run(tmp_path, "--help")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "clusters/secrets.sh [FILE ...]" in answer.stderr
    assert list(tmp_path.iterdir()) == []
