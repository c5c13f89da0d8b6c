"""Whether the cluster can hold a trial: on a node that is there, or on one that the autoscaler may add."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster.nodes import Node, answers
from orchestrator.cluster.resources import trials_a_gpu
from orchestrator.errors import one_line
from orchestrator.preflight.findings import Finding

Amounts = Mapping[str, float]  # of resources, by Ray's names


@dataclass(frozen=True)
class NodeTypes:
    """What the autoscaler may add.

    Args:
        resources: of a node of each type, by the type's name.
        unknown: why they, or those of some types, cannot be told; "" where all are.
        broken: what is wrong with it, so that it adds nothing; "" where all is well.
    """

    resources: Mapping[str, Amounts]
    unknown: str = ""
    broken: str = ""


def capacity(need: Amounts, nodes: Sequence[Amounts], ask_head: Callable[[], NodeTypes]) -> Finding:
    """Whether there is room for a trial that needs so much, and if not, which resource is short.

    Args:
        nodes: what each node has.
        ask_head: tells what may be added; called only if no node fits.
    """
    told = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    fitting = [offered for offered in nodes if fits(need, offered)]
    if fitting:
        at_once = sum(_at_once(need, offered) for offered in fitting)
        detail = f"a trial of {told} fits on {len(fitting)} of {len(nodes)} nodes, {at_once} at once"
        return Finding("cluster", "resources", True, detail)
    types = ask_head()
    launched = [name for name, offered in types.resources.items() if fits(need, offered)]
    if launched:
        detail = f"no node for a trial of {told} is up; may be launched: {', '.join(launched)}"
        return Finding("cluster", "resources", True, detail)
    detail = shortage(need, nodes, list(types.resources.values()))
    if types.broken:
        detail += f"; {types.broken}"
    elif types.unknown:
        detail += f"; may be launched by the autoscaler: not known ({types.unknown})"
    return Finding("cluster", "resources", bool(types.unknown) and not types.broken, detail)


def fits(need: Amounts, offered: Amounts) -> bool:
    """Whether a trial finds room on a node when nothing else runs there."""
    return all(offered.get(name, 0.0) >= amount for name, amount in need.items())


def shortage(need: Amounts, nodes: Sequence[Amounts], types: Sequence[Amounts] = ()) -> str:
    """Which resource no node has enough of, nor one that may be launched, and how much the largest has."""
    told = []
    for name, amount in need.items():
        largest, launched = (max((o.get(name, 0.0) for o in offers), default=0.0) for offers in (nodes, types))
        if max(largest, launched) < amount:
            more = f", the largest that may be launched {launched:g}" if types else ""
            told.append(f"{name}: a trial needs {amount:g}, the largest node has {largest:g}{more}")
    together = " and ".join(f"{amount:g} {name}" for name, amount in need.items())
    return "; ".join(told) or f"no node has {together} together"


def _at_once(need: Amounts, offered: Amounts) -> int:
    """The trials that a node holds; a share of a GPU is never spread over two of them."""
    counts = [int(offered[name] / amount) for name, amount in need.items() if amount >= 1]
    if 0 < (share := need.get("GPU", 0.0)) < 1:
        counts.append(int(offered["GPU"]) * trials_a_gpu(share))
    return min(counts)


def launchable(nodes: Sequence[Node], patience_s: float) -> NodeTypes:
    """What the cluster's autoscaler may add; Ray's own state does not tell, but the head has the autoscaler's file."""
    given = [a.value for a in answers(read_types, {node: {} for node in nodes if node.head}, patience_s).values()]
    if not given or isinstance(given[0], Exception):
        return NodeTypes({}, "the head does not answer")
    return NodeTypes(**given[0])


def read_types(ask: Mapping[str, Any]) -> dict[str, Any]:
    """`NodeTypes`' fields, as the head knows them: runs there in a Ray worker."""
    try:
        import ray
        from ray._private.ray_constants import DEBUG_AUTOSCALING_ERROR
        from ray.experimental.internal_kv import _internal_kv_get

        last_words = _internal_kv_get(DEBUG_AUTOSCALING_ERROR)
        if last_words:
            why = last_words.decode(errors="replace").strip().splitlines()[-1]
            return {"resources": {}, "broken": f"the autoscaler has ended: {why}"}
        return _read_types(_monitor(ray.get_runtime_context().gcs_address))
    except Exception as error:  # of Ray's own functions, which read the file
        return {"resources": {}, "unknown": one_line(error)}


def _read_types(monitor: Sequence[str]) -> dict[str, Any]:
    """`NodeTypes`' fields.

    Args:
        monitor: the words of the command line of the process that scales the cluster.
    """
    if not monitor and ("KUBERNETES_SERVICE_HOST" in os.environ or not Path("/proc/self").exists()):
        return {"resources": {}, "unknown": "it runs elsewhere"}
    if not monitor:
        return {"resources": {}, "broken": "no autoscaler runs on the head"}
    paths = [word.partition("=")[2] for word in monitor if word.startswith("--autoscaling-config=")]
    if not paths:
        return {"resources": {}, "unknown": ""}  # a cluster of nodes that were started by hand; it adds none
    config = yaml.safe_load(Path(paths[0]).expanduser().read_text())
    # As Ray's own defaults are: the head's type is not added, any other without a limit of its own up to the cluster's.
    limits = dict.fromkeys(config["available_node_types"], config.get("max_workers", 0)) | {config["head_node_type"]: 0}
    types = {n: k for n, k in config["available_node_types"].items() if k.get("max_workers", limits[n]) > 0}
    offered = {name: kind.get("resources") or {} for name, kind in types.items()}
    silent = [name for name, resources in offered.items() if "CPU" not in resources]
    known = {name: dict(resources) for name, resources in offered.items() if name not in silent}
    return {"resources": known, "unknown": f"its file does not say what {', '.join(silent)} has" if silent else ""}


def _monitor(gcs_address: str) -> list[str]:
    """The command line of the autoscaler's process of the cluster at `gcs_address`; [] if it is not on this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            words = path.read_bytes().decode(errors="replace").split("\0")
            scales = any("autoscaler" in word and word.endswith("monitor.py") for word in words)
            if scales and f"--gcs-address={gcs_address}" in words:
                return words
    return []
