"""The cores that a container grants, of both versions of control groups."""

import pytest

from orchestrator.cluster import cores
from orchestrator.cluster.cores import quota

V1 = "4:cpu,cpuacct:{path}\n1:name=systemd:/x\n"
V2 = "0::{path}\n"


def mounted(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("membership", "files", "granted"),
    [
        (V2.format(path="/"), {"cpu.max": "max 100000\n"}, None),
        (V2.format(path="/"), {"cpu.max": "200000 100000\n"}, 2),
        (V2.format(path="/a/b"), {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.5),
        (V2.format(path="/a/b"), {"a/cpu.max": "800000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 3),
        (V2.format(path="/not/mounted/here"), {"cpu.max": "100000 100000\n"}, 1),
        (V1.format(path="/"), {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1.format(path="/"), {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        (
            V1.format(path="/docker/7"),
            {"cpu,cpuacct/docker/7/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/7/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("", {}, None),
        (V2.format(path="/"), {"cpu.max": "nonsense"}, None),
    ],
)
def test_the_narrowest_quota_counts(membership, files, granted, tmp_path):
    (tmp_path / "membership").write_text(membership)
    assert quota(tmp_path / "membership", mounted(tmp_path / "cgroups", files)) == granted


@pytest.mark.parametrize(("granted", "cpus"), [(None, 4), (8.0, 4), (2.5, 2), (0.3, 1)])
def test_cores_are_those_of_the_quota_where_it_is_narrower(granted, cpus, monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cores, "quota", lambda membership, cgroups: granted)
    assert cores.cpus() == cpus


def test_a_machine_without_control_groups_has_no_quota(tmp_path):
    assert quota(tmp_path / "none", tmp_path / "neither") is None
