"""The preflight on a real Ray of two raylets on loopback, and on a third with folders and files of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from waiting import wait_until

from orchestrator.cluster.connection import start_ray, stop_ray
from orchestrator.cluster.nodes import alive
from orchestrator.cluster.resources import Resources
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.preflight import on_node
from orchestrator.preflight.check import Probe, clock_offset, differences, look, show
from orchestrator.preflight.findings import Finding
from orchestrator.storage.locations import Locations
from search_spaces.spaces import ABLATIONS
from trainables.inputs import Inputs

ON_CPU = Resources(1, 0)


@pytest.fixture(scope="module")
def cluster(autoscaling):
    """A joined cluster of 1 and 2 CPUs whose autoscaler may add nodes with a GPU."""
    folder = tempfile.mkdtemp(prefix="check-", dir="/tmp")  # a socket's path must be short
    file = Path(folder, "scales.yaml")
    scales = autoscaling("gpu", {"CPU": 4, "GPU": 1}, at_most=2, head={"CPU": 8, "GPU": 8})
    file.write_text(yaml.safe_dump(scales))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_FAKE_CLUSTER", "1")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False, "autoscaling_config": str(file)}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(num_cpus=2)
            start_ray(cluster.address, ON_CPU)
            yield cluster
        finally:
            stop_ray()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def study(tiny):
    return plan.build(Request(ABLATIONS, settings=tiny))


@pytest.fixture
def locations(tmp_path):
    return Locations(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "store"))


def own_images(folder: Path, seed: int) -> Path:
    """A dataset of 30 images of noise, each with a mask; returns the folder to name as its root."""
    rng = np.random.default_rng(seed)
    for part, count in (("images", 256), ("masks", 2)):
        (folder / "folder" / part).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, count, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "folder" / part / f"{i}.png")
    return folder


def of_own_images(root: Path, tiny) -> plan.Study:
    settings = tiny | {"data.dataset": "folder", "segmentation.validation_images": 1, "stages": ("segmentation",)}
    return plan.build(Request(ABLATIONS, settings=settings, inputs=Inputs(root)))


def wrong(findings: list[Finding]) -> dict[tuple[str, str], str]:
    return {(f.node, f.what): f.detail for f in findings if not f.ok}


def test_all_is_well(cluster, study, locations, capsys):
    look(study, locations, ON_CPU)  # starts the workers
    began = time.monotonic()
    found = look(study, locations, ON_CPU)
    assert time.monotonic() - began < 1
    assert not wrong(found)
    names = [node.name for node in alive()]
    assert len(set(names)) == 2
    assert [(f.node, f.what) for f in found] == [
        ("driver", "store"),
        *[(name, what) for name in names for what in ("store", "data", "versions")],
        ("cluster", "resources"),
    ]
    assert found[-1].detail == "a trial of 1 CPU fits on 2 of 2 nodes, 3 at once"
    assert not list((locations.storage / "store").iterdir())
    show([*found, Finding("one", "two", False, "a [bold] word")])
    shown = capsys.readouterr().out
    assert shown.count(" yes ") == len(found)
    assert "a [bold] word" in shown


def test_the_thorough_part_tries_a_trial(cluster, study, locations):
    found = look(study, locations, Resources(2, 0), thorough=True)
    assert not wrong(found)
    head, other = (node.name for node in alive())
    asked = {(f.node, f.what) for f in found}
    assert asked >= {(name, what) for name in (head, other) for what in ("store", "disk", "clock", "versions")}
    assert ("driver", "tracking") in asked
    assert {node for node, what in asked if what == "data"} == {other}  # no trial can run on the head
    (dry,) = (f for f in found if f.what == "dry trial")
    assert (dry.node, dry.detail[:24]) == (other, "2 steps and every stage ")
    assert not (locations.storage / "mlflow.db").exists()
    assert not list((locations.storage / "store").iterdir())


def test_what_no_node_can_use_is_said_of_each(cluster, study, locations, tmp_path, tiny):
    file = tmp_path / "file"
    file.write_text("not a folder")
    below = look(study, replace(locations, store=str(file / "store")), ON_CPU)
    assert [what for _, what in wrong(below)] == ["store"] * 3
    apart = wrong(look(study, replace(locations, store="memory://apart"), ON_CPU))  # each process has its own
    assert [what for _, what in apart] == ["store"] * 2
    assert all("is not the driver's" in detail for detail in apart.values())
    ours = of_own_images(own_images(tmp_path / "ours", 0), tiny)
    assert not wrong(look(ours, locations, ON_CPU))
    theirs = replace(ours, inputs=Inputs(own_images(tmp_path / "theirs", 1)))
    assert [what for _, what in wrong(look(theirs, locations, ON_CPU))] == ["data"] * 2


def test_what_a_node_writes_must_reach_the_driver(cluster, study, locations, monkeypatch):
    with Probe(locations.store) as probe:
        probe.write()
        folder = Path(locations.store, probe.name)
        (folder / "one").write_text(probe.token)
        (folder / "other").write_text("of another time")
        assert probe.read_back(["one", "other", "missing"]) == {"one"}
    assert not folder.exists()
    head, other = alive()
    monkeypatch.setattr(Probe, "read_back", lambda probe, names: {head.id})
    (told,) = wrong(look(study, locations, ON_CPU)).items()
    assert told == (
        (other.name, "store"),
        "the driver does not see what was written here; all nodes must share one store",
    )


def test_a_trial_that_fits_nowhere_is_told_what_is_short(cluster, study, locations):
    added = look(study, locations, Resources(1, 1))
    assert not wrong(added)
    assert added[-1].detail == "no node for a trial of 1 CPU, 1 GPU is up; may be launched: gpu"
    (short,) = wrong(look(study, locations, Resources(5, 2))).values()
    assert short == (
        "CPU: a trial needs 5, the largest node has 2, the largest that may be launched 4; "
        "GPU: a trial needs 2, the largest node has 0, the largest that may be launched 1"
    )


def able_to_mount() -> bool:
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not able_to_mount(), reason="may not mount a folder of its own here")
def test_one_node_with_files_of_its_own(cluster, locations, tmp_path, tiny, root):
    own, ours = of_own_images(own_images(tmp_path / "ours", 0), tiny), {node.id for node in alive()}
    own_images(tmp_path / "theirs", 1)
    shutil.copytree(root / "results", tmp_path / "results")
    (tmp_path / "results" / "new.py").write_text("")
    Path(locations.store).mkdir()
    mounts = [
        f"mount -t tmpfs tmpfs {locations.store}",
        f"mount --bind {tmp_path}/theirs {tmp_path}/ours",
        f"mount --bind {tmp_path}/results {root}/results",
    ]
    start = f"exec {Path(sys.executable).parent}/ray start --address={cluster.address} --num-cpus=1 --block"
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", " && ".join([*mounts, start])]
    node = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        other = new_node(ours)
        found = wrong(look(own, locations, ON_CPU))
    finally:
        node.terminate()
        node.wait(30)
    assert set(found) == {(other, "store"), (other, "data"), (other, "versions")}
    assert "is not the driver's" in found[other, "store"]
    assert "other files than the driver's" in found[other, "data"]
    assert found[other, "versions"].startswith("source is ")


def new_node(known: set[str]) -> str:
    return wait_until(lambda: [node.name for node in alive() if node.id not in known], "a node comes up", 30)[0]


def test_a_lost_node_holds_nobody_up(cluster, study, locations):
    (other,) = (node for node in cluster.worker_nodes)
    (name,) = (node.name for node in alive() if node.id == other.node_id)
    raylet = other.all_processes["raylet"][0].process.pid
    os.kill(raylet, signal.SIGSTOP)  # as a machine whose cable is pulled: Ray takes a while to notice
    try:
        began = time.monotonic()
        found = look(study, locations, ON_CPU, patience_s=3)
        assert time.monotonic() - began < 6
    finally:
        os.kill(raylet, signal.SIGCONT)
    assert wrong(found) == {(name, "answer"): "none within 3 s: the node is lost, or busy"}
    assert sum(f.what == "data" for f in found) == 1


@pytest.mark.slow
def test_a_node_that_leaves_is_no_fault(cluster, study, locations):
    (other,) = (node for node in cluster.worker_nodes)
    (name,) = (node.name for node in alive() if node.id == other.node_id)
    raylet = other.all_processes["raylet"][0].process.pid
    os.kill(raylet, signal.SIGKILL)  # by now Ray still counts it as living
    found = look(study, locations, ON_CPU, patience_s=60)
    cluster.remove_node(other)
    assert not wrong(found)
    assert (name, "answer") in {(f.node, f.what) for f in found}
    assert found[-1].detail == "a trial of 1 CPU fits on 1 of 1 nodes, 1 at once"


def test_other_versions_are_named():
    ours = on_node.versions()
    assert set(ours) == {"python", "ray", "torch", "numpy", "pydantic", "source"}
    assert not differences(ours, dict(ours))
    theirs = {name: version for name, version in ours.items() if name != "numpy"} | {"torch": "2.0.1"}
    told = differences(ours, theirs)
    assert told == f"torch is 2.0.1, the driver's {ours['torch']}, numpy is missing, the driver's {ours['numpy']}"


@pytest.mark.parametrize(
    ("began", "ended", "expected"),
    [(101, 102, 0), (100, 110, 0), (93, 94, -7), (111.5, 112.5, 2.5), (109, 110.5, 0.5)],
)
def test_a_clock_is_off_by_what_the_way_cannot_explain(began, ended, expected):
    assert clock_offset(100, began, ended, 110) == expected


class Server(BaseHTTPRequestHandler):
    """Healthy, and closed to whoever has no password."""

    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *words):
        pass


def test_a_tracking_server_that_asks_for_a_password(cluster, study, locations):
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        uri = f"http://127.0.0.1:{server.server_port}"
        refused = look(replace(study, trials=()), replace(locations, tracking_uri=uri), Resources(1, 2), thorough=True)
    finally:
        server.shutdown()
        server.server_close()
    assert "wants a user and a password" in wrong(refused)["driver", "tracking"]
    postgres = replace(locations, tracking_uri="postgresql://someone:secret@127.0.0.1:1/mlflow")
    told = wrong(look(study, postgres, Resources(1, 2), thorough=True))["driver", "tracking"]
    assert "secret" not in told


def test_check_joins_and_leaves(tmp_path):
    script = f"""
import sys
from pathlib import Path
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.preflight.check import check
from orchestrator.cluster.resources import Resources
from orchestrator.storage.locations import Locations
from search_spaces.spaces import ABLATIONS
assert "ray" not in sys.modules and "torch" not in sys.modules
locations = Locations(Path("{tmp_path}"), "sqlite:///{tmp_path}/mlflow.db", "{tmp_path}/store")
study = plan.build(Request(ABLATIONS))
found = check(study, locations, Resources(1, 0), "nowhere", thorough=False)
assert [(f.node, f.what, f.ok) for f in found] == [("driver", "cluster", False)], found
assert not Path("{tmp_path}/store").exists()
found = check(study, locations, Resources(1, 0), "local", thorough=False)
assert [f.ok for f in found] == [True] * 5, found
import ray
assert not ray.is_initialized()
"""
    with tempfile.TemporaryDirectory(prefix="check-", dir="/tmp") as folder:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120,
            env=os.environ | {"RAY_TMPDIR": folder},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
