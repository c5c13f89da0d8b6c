"""The CPU cores that this process may use: by its affinity, and by the quota of the container that it runs in.

A container is given so many microseconds of CPU time in each period. It sees every core of the host, and with a trial
on each of them all are slowed down.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def cpus() -> int:
    """The CPU cores that this process may use, 1 at least."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = quota(MEMBERSHIP, CGROUPS)
    return bound if granted is None else max(1, min(bound, int(granted)))


def quota(membership: Path, cgroups: Path) -> float | None:
    """The CPU cores that this process's control groups grant it, the narrowest of them; None for no limit.

    Args:
        membership: the kernel's list of the groups that this process is in.
        cgroups: the folder in which they are mounted, of version 1 or 2.
    """
    granted = [cores for folder in _folders(membership, cgroups) if (cores := _granted(folder)) is not None]
    return min(granted, default=None)


def _folders(membership: Path, cgroups: Path) -> Iterator[Path]:
    """The process's groups and those around them; in a container its own may be mounted as the outermost."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for mounted in (cgroups, cgroups / "cpu", cgroups / "cpu,cpuacct"):
        yield mounted
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if controllers == "" or "cpu" in controllers.split(","):
                inner = Path(path.lstrip("/"))
                yield from (mounted / group for group in (inner, *inner.parents) if group != Path())


def _granted(folder: Path) -> float | None:
    """The cores of one group's limit; None where it sets none."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return None if limit == "max" or int(limit) <= 0 else int(limit) / int(period)
    except (OSError, ValueError):  # another version's, or no such group
        return None
