"""A wait gives what came, and says what did not."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from ports import free_port, taken_port
from processes import started_with
from waiting import status, wait_for_answer, wait_until

ANSWERS = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401 if self.path == "/closed" else 200)
        self.end_headers()
    def log_message(self, *words):
        pass
time.sleep(0.3)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def server():
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", ANSWERS, str(port)])
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_what_has_come_is_given():
    asked = count()
    assert wait_until(lambda: next(asked) // 3 and "there", "a third look", 10, pause_s=0) == "there"
    assert next(asked) == 4


def test_what_has_not_come_is_told_with_the_end_of_the_log(tmp_path):
    (tmp_path / "log").write_text("the last word")
    with pytest.raises(TimeoutError, match=r"(?s)^not within 0 s: a sign; .*/log says:\nthe last word$"):
        wait_until(lambda: False, "a sign", 0, log=tmp_path / "log")


def test_what_cannot_come_any_more_is_not_waited_for():
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match=r"^ended with 3 before a sign$"):
        wait_until(lambda: False, "a sign", 60, process=process)


def test_a_server_is_waited_for(server):
    process, url = server
    assert status(url) == 0
    wait_for_answer(url, "the server", 20, process)
    assert (status(url), status(f"{url}/closed")) == (200, 401)
    with pytest.raises(TimeoutError, match=f"the server answers at {url}/closed"):
        wait_for_answer(f"{url}/closed", "the server", 0)


def test_who_never_says_a_word_does_not_answer():
    with taken_port() as port:
        assert status(f"http://127.0.0.1:{port}", timeout_s=0.1) == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds it in /proc")
def test_a_process_is_found_by_its_variables():
    words = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes, env={"ABLATION_TEST_WAITING": "yes"}) as process:
        process.stdout.readline()
        assert started_with("ABLATION_TEST_WAITING=yes\0") == {process.pid: " ".join(words) + " "}
        process.communicate(b"\n")
    assert started_with("ABLATION_TEST_WAITING=yes\0") == {}
