"""The nodes of the Ray cluster that this process has joined, and one question to many of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator import signals

HEAD = "node:__internal_head__"  # a resource that the head alone has


@dataclass(frozen=True)
class Node:
    """A living node.

    Args:
        name: its address and the beginning of its id: one machine may have several.
        resources: all that it has, by Ray's names, whether in use or not.
    """

    id: str
    name: str
    resources: Mapping[str, float] = field(compare=False)

    @property
    def head(self) -> bool:
        """Whether the cluster's state is kept here."""
        return HEAD in self.resources


@dataclass(frozen=True)
class Answer:
    """What a task returned, or the exception that it ended with; the times are of this machine's clock, since 1970."""

    value: Any
    sent: float
    received: float


def alive() -> list[Node]:
    """The nodes that Ray counts as living, the head first. It notices within seconds that one has died."""
    import ray  # only now: its environment is set before

    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    living = [node for node in listed if node["Alive"]]
    found = [Node(n["NodeID"], f"{n['NodeManagerAddress']} {n['NodeID'][:6]}", n["Resources"]) for n in living]
    return sorted(found, key=lambda node: (not node.head, node.name))


def answers(
    task: Callable[[Mapping[str, Any]], Any],
    asks: Mapping[Node, Mapping[str, Any]],
    patience_s: float,
    reserved: Mapping[str, float] | None = None,
) -> dict[Node, Answer]:
    """The answers of the nodes that gave one in time, each from a task that runs there and nowhere else.

    Args:
        task: a function of this package: a node imports it by its name.
        asks: its argument on each node.
        patience_s: for all of them together; they work at the same time.
        reserved: for each while it runs, as Ray's options; nothing by default.

    Raises:
        KeyboardInterrupt: the person stopped it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(task)
    sent: dict[Node, float] = {}
    waiting: dict[Any, Node] = {}
    given: dict[Node, Answer] = {}
    for node, ask in asks.items():
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        sent[node] = time.time()
        options = {"num_cpus": 0, **(reserved or {}), "max_retries": 0, "scheduling_strategy": there}
        waiting[remote.options(**options).remote(ask)] = node
    deadline = time.monotonic() + patience_s
    try:
        while waiting and (left := deadline - time.monotonic()) > 0:
            signals.check()
            for ref in ray.wait(list(waiting), num_returns=1, timeout=min(1.0, left))[0]:
                node = waiting.pop(ref)
                given[node] = Answer(_value(ref), sent[node], time.time())
    finally:
        for ref in waiting:
            with contextlib.suppress(Exception):  # the node may be gone, and with it what is to be stopped
                ray.cancel(ref, force=True)
    return given


def _value(ref: Any) -> Any:
    import ray

    try:
        return ray.get(ref)
    except Exception as error:  # the task's own, of the way there, or Ray's
        return error
