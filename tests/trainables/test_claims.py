"""One holder at a time, on a folder and on an object store; what is dead is taken over."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from trainables import claims
from trainables.claims import Claims
from trainables.store import Store


@pytest.fixture(params=["folder", "memory"])
def root(request, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else f"memory://{uuid.uuid4().hex}"


def test_a_claim_has_one_holder_until_it_is_given_back(root):
    first, second = Claims(Store(root)), Claims(Store(root))
    held = first.claim("ddpm-1")
    assert held is not None
    assert second.claim("ddpm-1") is None
    assert second.claim("ddpm-2") is not None
    held.remove()
    assert second.claim("ddpm-1") is not None


def test_a_claim_is_given_back_when_its_work_fails(root):
    with pytest.raises(RuntimeError, match="the work fails"), Claims(Store(root)).claim("ddpm-1"):
        raise RuntimeError("the work fails")
    assert Claims(Store(root)).claim("ddpm-1") is not None


def test_of_many_that_come_at_once_one_at_a_time_holds_it(root):
    inside, most, got = [], [], []

    def worker(number: int) -> None:
        mine, rng = Claims(Store(root)), random.Random(number)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            held = mine.claim("ddpm-1")
            if held is None:
                time.sleep(rng.uniform(0.001, 0.02))
                continue
            with held:
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.005)
                inside.remove(number)
                got.append(number)
            return

    threads = [threading.Thread(target=worker, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(6))
    assert max(most) == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells a dead process by /proc")
def test_the_claim_of_a_killed_process_is_free_at_once(tmp_path):
    code = f"""
import sys, time
from trainables.claims import Claims
from trainables.store import Store
held = Claims(Store({str(tmp_path)!r})).claim("ddpm-1")
print("held", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    mine = Claims(Store(tmp_path))
    assert mine.claim("ddpm-1") is None
    assert mine.holder("ddpm-1")["pid"] == process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert mine.claim("ddpm-1") is not None


def _beat_of_this_machine(store: Store, started: str) -> str:
    """Leaves a claim of this process's number; the path of its file."""
    path = f"{store.root}/claims/ddpm-1/left"
    owner = {"host": "here", "machine": claims._machine(), "pid": os.getpid(), "started": started, "beat": 1}
    store.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    store.fs.pipe_file(path, json.dumps(owner).encode())
    return path


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells a process by /proc")
def test_a_process_number_that_is_used_again_is_another_process(root):
    store = Store(root)
    left = _beat_of_this_machine(store, started=claims._process_start(os.getpid()))
    assert Claims(store).claim("ddpm-1") is None
    left = _beat_of_this_machine(store, started="1")
    held = Claims(store).claim("ddpm-1")
    assert held is not None
    assert not store.fs.exists(left)
    held.remove()


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="tells starts by /proc")
def test_a_machine_that_was_started_anew_is_another(tmp_path):
    held = Claims(Store(tmp_path)).claim("ddpm-1")
    (file,) = (tmp_path / "claims" / "ddpm-1").iterdir()
    owner = json.loads(file.read_text())
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip() in owner["machine"]
    assert owner["host"] in owner["machine"]
    assert claims.is_here(owner)
    assert not claims.is_here(owner | {"machine": owner["host"]})
    held.remove()


def test_a_beat_that_crosses_the_end_of_a_claim_does_not_bring_it_back(root, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.01)
    store = Store(root)
    claim = claims.Claim(store, "ddpm-1")
    claim.beat()
    beats, reached, go_on = claim.beat, threading.Event(), threading.Event()

    def late() -> None:
        reached.set()
        go_on.wait(10)
        beats()

    monkeypatch.setattr(claim, "beat", late)
    claim.start()
    assert reached.wait(10)
    claim.remove()
    assert not store.fs.exists(claim.path)
    go_on.set()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "claim" and thread._target == claim._keep]
    thread.join(10)
    assert not store.fs.exists(claim.path)


def test_a_claim_on_another_machine_lives_by_its_beat(root, monkeypatch):
    monkeypatch.setattr(claims, "DEAD_AFTER_S", 0.3)
    store, mine = Store(root), Claims(Store(root))
    path = f"{store.root}/claims/ddpm-1/other"

    def beat(number: int) -> None:
        owner = {"host": "far", "machine": "far away", "pid": 1, "started": "1", "beat": number}
        store.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        store.fs.pipe_file(path, json.dumps(owner).encode())

    for number in range(5):
        beat(number)
        assert mine.claim("ddpm-1") is None
        time.sleep(0.15)
    time.sleep(0.4)
    assert mine.claim("ddpm-1") is not None


def test_a_holder_is_seen_to_live_or_to_be_gone(root, monkeypatch):
    monkeypatch.setattr(claims, "DEAD_AFTER_S", 0.4)
    monkeypatch.setattr(claims, "LOOK_S", 0.02)
    store = Store(root)
    path = f"{store.root}/claims/study-mine/other"

    def beat(number: int, machine: str = "this one, before it was started anew") -> None:
        owner = {"host": "far", "machine": machine, "pid": 1, "started": "1", "beat": number}
        store.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        store.fs.pipe_file(path, json.dumps(owner).encode())

    beat(1)
    threading.Timer(0.2, beat, [2]).start()
    living = Claims(store).living_holder("study-mine")
    assert living is not None
    assert living["beat"] == 2
    # No further beat: whoever it was is gone, and the claim is free.
    assert Claims(store).living_holder("study-mine") is None
    assert Claims(store).claim("study-mine") is not None


def test_a_holder_on_this_machine_is_known_at_once(root):
    store = Store(root)
    held = Claims(store).claim("study-mine")
    began = time.monotonic()
    living = Claims(store).living_holder("study-mine")
    assert living is not None
    assert living["pid"] == os.getpid()
    assert time.monotonic() - began < 1
    held.remove()


def test_a_holder_goes_on_beating(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    held = Claims(Store(tmp_path)).claim("ddpm-1")
    (file,) = (tmp_path / "claims" / "ddpm-1").iterdir()
    seen = {file.read_bytes()}
    time.sleep(0.3)
    seen.add(file.read_bytes())
    assert len(seen) == 2
    held.remove()
    time.sleep(0.1)
    assert not file.exists()
