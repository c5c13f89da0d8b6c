"""MLflow's server as the head of a cluster starts it: who gets in, what is kept, what happens when it dies.

The server, its database and its clients share a network of their own that has loopback only; 127.0.0.2 stands for the
head's address inside the cluster. This file, run as a script in there, does it all once and prints what it saw.
"""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import waiting
from ports import taken_port
from processes import started_with

SCRIPT = Path(__file__).parents[2] / "clusters" / "mlflow-server.sh"
ADDRESSES = ("127.0.0.1", "127.0.0.2")
PORT = "5077"
PATHS = (
    "/",
    "/api/2.0/mlflow/experiments/search?max_results=1",
    "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
)
URIS = {"sqlite": "", "postgresql": "postgresql://ablations@127.0.0.1/runs"}
RESTART_LIMIT_S = 60.0
NOBODY = 65534  # PostgreSQL does not run as root
DATABASE = "127.0.0.1:5432:runs:ablations:correct horse"


def status(address, path, password=None, host=None):
    """The HTTP status that a client is answered with, 0 where nobody answers."""
    headers = {} if host is None else {"Host": host}
    if password is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(f'admin:{password}'.encode()).decode()}"
    return waiting.status(f"http://{address}:{PORT}{path}", headers, timeout_s=10)


def processes(home):
    """The command lines of the living processes that were started for `home`, by process id."""
    return {pid: line for pid, line in started_with(f"HOME={home}\0").items() if pid != os.getpid()}


def run(word):
    return subprocess.run([SCRIPT, word], capture_output=True, text=True, check=False, timeout=200)


def started(times):
    """The exit code of each `start`, and what it says; all are at once."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen([SCRIPT, "start"], **pipes) for _ in range(times)]
    said = [process.communicate(timeout=200)[0] for process in processes]
    return [[process.returncode, text] for process, text in zip(processes, said, strict=True)]


def postgres_programs():
    """The folder of PostgreSQL's programs; None where there is none."""
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    return next((Path(program).resolve().parent for program in found if program), None)


@contextlib.contextmanager
def postgres(home):
    """A PostgreSQL that wants the password of `DATABASE`, which lies where libpq looks for it."""
    *_, name, user, password = DATABASE.split(":")
    (home / ".pgpass").write_text(f"{DATABASE}\n")
    (home / ".pgpass").chmod(0o600)
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        Path(folder, "password").write_text(password)
        Path(folder, "password").chmod(0o644)

        def call(program, *words):
            subprocess.run(
                [postgres_programs() / program, *words], check=True, stdout=sys.stderr, cwd=folder,
                env={"HOME": folder, "PGDATA": f"{folder}/data"}, user=NOBODY, group=NOBODY, extra_groups=[],
            )  # fmt: skip

        call("initdb", "--encoding=UTF8", "--username", user, "--auth-host=scram-sha-256", "--pwfile=password")
        call("pg_ctl", "start", "--log=log", "--options", f"-c listen_addresses=127.0.0.1 -k {folder}")
        try:
            call("createdb", "--host", folder, "--username", user, name)
            yield
        finally:
            call("pg_ctl", "stop", "--mode=fast")


def scenario(home, uri):
    """Everything, once; what was seen."""
    if not uri:
        return served(home, starts=2)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri
    with postgres(home):
        seen = served(home, starts=1)
        if "client" in seen:
            seen["new head"] = on_a_new_head(home)
    return seen


def on_a_new_head(home):
    """What a client finds on a head that has only the setting and the password; what `start` says else."""
    shutil.rmtree(home / "ablations")
    (home / ".mlflow" / "credentials").unlink()
    try:
        code = run("start").returncode
        found = client() if code == 0 else []
        (home / ".pgpass").write_text(DATABASE.replace("horse", "house"))
        wrong = run("start")
        (home / ".pgpass").unlink()
        none = run("start")
    finally:
        run("stop")
    return {"start": code, "found": found} | {
        why: [done.returncode, done.stderr] for why, done in (("wrong", wrong), ("none", none))
    }


def served(home, starts):
    """From `start` to `stop`; what was seen."""
    folder, seen = home / "ablations" / "mlflow", {}
    try:
        seen["start"] = started(starts)
        if any(code for code, _ in seen["start"]):
            return seen
        password = (folder / "password").read_text()
        seen["answers"] = {address: answers(address, password) for address in ADDRESSES}
        seen["modes"] = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
        shown = [
            *(said for _, said in seen["start"]),
            *processes(home).values(),
            *(log.read_text() for log in folder.glob("log-*")),
        ]
        secrets = (password, DATABASE.rpartition(":")[2])
        seen["shown"] = any(secret in text for secret in secrets for text in shown)
        seen["client"] = client()
        seen["artifacts"] = sorted(path.name for path in (folder / "artifacts").rglob("*.txt"))
        seen["restarted"] = killed_and_back(home, password)
        seen["found_again"] = client()
    finally:
        stopped = run("stop")
        seen["stop"] = [stopped.returncode, stopped.stderr]
    seen["left"] = list(processes(home).values())
    seen["status"] = run("status").returncode
    return seen


def answers(address, password):
    return {
        "health": status(address, "/health"),
        "nobody": [status(address, path) for path in PATHS],
        "wrong password": [status(address, path, "wrong") for path in PATHS],
        "password": [status(address, path, password) for path in PATHS],
        "through a tunnel": [status(address, path, password, "localhost:7777") for path in PATHS],
        "foreign name": [status(address, path, password, "evil.example") for path in PATHS],
        "foreign name, no password": [status(address, path, host="evil.example") for path in PATHS],
    }


def client():
    """The experiments that a client finds that has no settings but the file that `start` has written."""
    from mlflow import MlflowClient

    mlflow = MlflowClient(f"http://127.0.0.2:{PORT}")
    if mlflow.get_experiment_by_name("a study") is None:
        run = mlflow.create_run(mlflow.create_experiment("a study"))
        mlflow.log_text(run.info.run_id, "a picture", "picture.txt")
    return sorted(experiment.name for experiment in mlflow.search_experiments())


def killed_and_back(home, password):
    """Whether both servers answer again: one whose worker was killed, and one that left its worker behind."""
    before = processes(home)
    workers = [pid for pid, line in before.items() if "uvicorn" in line and f"--host {ADDRESSES[0]} " in line]
    parents = [pid for pid, line in before.items() if "mlflow server" in line and f"--host {ADDRESSES[1]} " in line]
    for pid in workers + parents:
        os.kill(pid, signal.SIGKILL)

    def back():
        servers = {pid: line for pid, line in processes(home).items() if "uvicorn" in line}
        # A new one beside an old one has no port, and what answers is the old one.
        of = {a: [pid in before for pid, line in servers.items() if f"--host {a} " in line] for a in ADDRESSES}
        return [a for a in ADDRESSES if of[a] == [False] and status(a, "/", password) == 200]

    with contextlib.suppress(TimeoutError):
        waiting.wait_until(lambda: len(back()) == len(ADDRESSES), "both servers answer again", RESTART_LIMIT_S, 0.5)
    return [len(workers), len(parents), back()]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request):
    if request.param == "postgresql" and (os.geteuid() or postgres_programs() is None):
        pytest.fail("make cluster-test: needs PostgreSQL (apt-get install postgresql), and root to start it as another")
    return request.param


@pytest.fixture(scope="module")
def seen(database, tmp_path_factory):
    pytest.importorskip("flask_wtf", reason="MLflow's basic-auth needs mlflow[auth]")
    map_user = ["--map-root-user"] if os.geteuid() else []
    spaces = ["--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    offline = ["unshare", *map_user, *spaces, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not shutil.which("ip") or subprocess.run([*offline, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network namespace")
    home = tmp_path_factory.mktemp("home")
    environment = {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "ABLATION_MLFLOW_ADDRESS": ADDRESSES[1],
        "MLFLOW_PORT": PORT,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    answer = subprocess.run(
        [*offline, sys.executable, __file__, str(home), URIS[database]],
        capture_output=True, text=True, check=False, timeout=280, env=environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.cluster
def test_it_starts_and_says_where_also_twice_at_once(seen):
    for code, said in seen["start"]:
        assert code == 0, said
        assert re.findall(r"http://([\d.]+):", said) == list(ADDRESSES)


@pytest.mark.cluster
@pytest.mark.parametrize("address", ADDRESSES)
def test_without_the_password_there_is_nothing(seen, address):
    answers = seen["answers"][address]
    assert answers["health"] == 200
    assert answers["nobody"] == answers["wrong password"] == [401] * len(PATHS)
    assert answers["password"] == answers["through a tunnel"] == [200] * len(PATHS)


@pytest.mark.cluster
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_foreign_name_is_refused_with_and_without_the_password(seen, address):
    answers = seen["answers"][address]
    assert answers["foreign name"] == [403] * len(PATHS)
    assert answers["foreign name, no password"] == [403] * len(PATHS)


@pytest.mark.cluster
def test_only_the_owner_may_read_what_it_keeps_and_the_password_is_shown_nowhere(seen, database):
    assert {"password", "flask_key", "basic_auth.db"} <= set(seen["modes"])
    assert ("mlflow.db" in seen["modes"]) == (database == "sqlite")
    assert {name: oct(mode) for name, mode in seen["modes"].items() if mode & 0o077} == {}
    assert seen["shown"] is False


@pytest.mark.cluster
def test_a_client_on_the_head_needs_no_settings(seen):
    assert seen["client"] == ["Default", "a study"]
    assert seen["artifacts"] == ["picture.txt"]


@pytest.mark.cluster
def test_a_server_that_is_killed_comes_back_with_all_that_it_had(seen):
    assert seen["restarted"] == [1, 1, list(ADDRESSES)]
    assert seen["found_again"] == ["Default", "a study"]


@pytest.mark.cluster
def test_stop_leaves_nothing_running(seen):
    assert seen["stop"] == [0, ""]
    assert seen["left"] == []
    assert seen["status"] == 1


@pytest.mark.cluster
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_is_in_a_postgresql_outlives_the_head(seen):
    assert (seen["new head"]["start"], seen["new head"]["found"]) == (0, ["Default", "a study"])
    for password, why in (("wrong", "password authentication failed"), ("none", "no password supplied")):
        code, said = seen["new head"][password]
        assert code == 1
        assert re.fullmatch(f"mlflow-server.sh: MLFLOW_BACKEND_STORE_URI, .*{why}.*\n", said)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("MLFLOW_ARTIFACTS_DESTINATION=/proc/not-there", "MLFLOW_ARTIFACTS_DESTINATION, /proc/not-there: FileNotFound"),
        ("MLFLOW_BACKEND_STORE_URI=sqlite:////not/there/x.db", "MLFLOW_BACKEND_STORE_URI, sqlite:////not/there/x.db: "),
        ("MLFLOW_BACKEND_STORE_URI=db2://me:secret@h/runs", "MLFLOW_BACKEND_STORE_URI, db2://me:***@h/runs: NoSuchMod"),
        ("MLFLOW_PORT={taken}", "another program has port {taken} of 127.0.0.1; set MLFLOW_PORT"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_before_a_server_starts(tmp_path, setting, said):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with taken_port() as taken:
        name, _, value = setting.format(taken=taken).partition("=")
        answer = subprocess.run(
            [SCRIPT, "start"], capture_output=True, text=True, check=False, timeout=120,
            env={"HOME": str(tmp_path), "PATH": path, "ABLATION_MLFLOW_ADDRESS": "127.0.0.1", name: value},
        )  # fmt: skip
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith(f"mlflow-server.sh: {said.format(taken=taken)}")
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / ".mlflow").exists()
    assert processes(tmp_path) == {}


if __name__ == "__main__":
    print(json.dumps(scenario(Path(sys.argv[1]), sys.argv[2])))
