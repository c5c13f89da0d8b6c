"""The preflight: what would fail an hour into a study, looked for on every node before it starts.

    check(study, locations, resources, "auto", thorough=True)    joins the cluster, looks, and leaves it
    look(study, locations, resources)                            the same with Ray at hand; only the quick part

One task on each node tells what it finds there (`looks`). None raises, and a node that is lost holds nobody up. What
takes two machines is judged here: a store that all share, versions, clocks.
"""

from __future__ import annotations

import contextlib
import glob
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from orchestrator import signals
from orchestrator.cluster.connection import placement, start_ray, stop_ray
from orchestrator.cluster.nodes import Answer, Node, alive, answers
from orchestrator.cluster.resources import Resources
from orchestrator.errors import Unfit, one_line
from orchestrator.planning.plan import Study
from orchestrator.preflight.capacity import capacity, fits, launchable
from orchestrator.preflight.findings import Finding, show, tried
from orchestrator.preflight.on_node import answer, dry_trial, versions
from orchestrator.storage.locations import Locations
from orchestrator.tracking.address import check_tracking
from orchestrator.tracking.backend import prove_files, reason, without_password
from trainables.store import Store

__all__ = ["Finding", "check", "look", "show"]

PATIENCE_S = 120.0  # for the nodes' answers: workers may have to be started first, and data be read from a slow disk
DRY_PATIENCE_S = 600.0  # for the dry trials
CLOCK_S = 5.0  # that a clock may be off


def check(study: Study, locations: Locations, resources: Resources, address: str, thorough: bool) -> list[Finding]:
    """What was found on the Ray cluster at `address`, which is joined and left; "local" starts one here.

    Args:
        resources: of each trial.
        thorough: whether to look at what takes longer too, and to try a short trial.

    Raises:
        KeyboardInterrupt: the person stopped it.
    """
    try:
        start_ray(address, resources)
        signals.listen()  # again: Ray sets a handler of its own
        return look(study, locations, resources, thorough)
    except Exception as error:  # Ray has many for a cluster that is not there or does not take us
        return [Finding("driver", "cluster", False, one_line(error))]
    finally:
        stop_ray()


def look(
    study: Study, locations: Locations, resources: Resources, thorough: bool = False, patience_s: float = PATIENCE_S
) -> list[Finding]:
    """What was found on the Ray cluster that this process has joined: by the driver, on each node, of the whole.

    Args:
        resources: of each trial.
        thorough: whether to look at what takes longer too, and to try a short trial.
        patience_s: after which a node that has not answered counts as lost.

    Raises:
        KeyboardInterrupt: the person stopped it.
    """
    need, nodes = placement(resources), alive()
    findings = [tried("driver", "tracking", partial(_reach_tracking, locations.tracking_uri))] if thorough else []
    with Probe(locations.store) as probe:
        findings.append(tried("driver", "store", probe.write))
        asks = {node: _ask(study, probe, node, fits(need, node.resources), thorough) for node in nodes}
        given = answers(answer, asks, patience_s)
        seen = probe.read_back(node.id for node in nodes)
    stay, ours = alive(), versions()
    for node in nodes:
        if silent := _without_answer(node, given.get(node), stay, patience_s):
            findings.append(silent)
            continue
        findings += _judged(node, given[node].value, node.id in seen, ours)
        findings += [_clock(node, given[node])] if thorough else []
    findings.append(capacity(need, [node.resources for node in stay], lambda: launchable(stay, patience_s)))
    return findings + (_dry_trials(study, resources, stay) if thorough and findings[-1].ok else [])


def _ask(study: Study, probe: Probe, node: Node, works: bool, thorough: bool) -> dict[str, Any]:
    """What the node is asked.

    Args:
        works: whether a trial can run there; the data are needed nowhere else.
    """
    configs = [study.baseline, *(trial.config for trial in study.trials)]
    networks = set[str]().union(*(c.fid.networks for c in configs if "fid" in c.stages))
    wanted = {
        "store": True,
        "data": works,
        "disk": thorough,
        "checkpoint": works and thorough and study.inputs.checkpoint is not None,
        "own code": works and bool(study.own.parts),
        "inception": works and thorough and "inception" in networks,
        "dinov2": works and thorough and "dinov2" in networks,
    }
    return {
        "looks": [what for what, asked in wanted.items() if asked],
        "node": node.id,
        "store": probe.root,
        "probe": probe.name,
        "token": probe.token,
        "fingerprint": study.about.fingerprint,
        "own_parts": study.own.parts,
        "own_source": study.own.source,
        **_shared(study),
    }


def _shared(study: Study) -> dict[str, Any]:
    inputs = {name: path and str(path) for name, path in vars(study.inputs).items()}
    return {
        "config": study.baseline.model_dump(mode="json"),
        "inputs": inputs,
        "own_files": dict(study.own.files),
    }


class Probe:
    """A folder in the store in which the driver and every node leave a file, for the others to read."""

    def __init__(self, root: str) -> None:
        self.root, self.name, self.token = root, f"probe-{uuid.uuid4().hex}", uuid.uuid4().hex

    def write(self) -> str:
        """Leaves the driver's file."""
        store = Store(self.root)
        store.make_folder(f"{store.root}/{self.name}")
        store.fs.pipe_file(f"{store.root}/{self.name}/driver", self.token.encode())
        if store.fs.cat_file(f"{store.root}/{self.name}/driver") != self.token.encode():
            raise Unfit(f"{store.root} does not give back what was written")
        return self.root

    def read_back(self, names: Iterable[str]) -> set[str]:
        """Those of the names whose files the driver sees; all are read at once."""
        with contextlib.suppress(Exception):  # each filesystem has its own; a node that is not seen is told
            store = Store(self.root)
            store.fs.invalidate_cache()
            paths = {f"{store.root}/{self.name}/{name}": name for name in names}
            found = store.fs.cat([glob.escape(path) for path in paths], on_error="omit")
            return {paths[path] for path, content in found.items() if content == self.token.encode()}
        return set()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(Exception):  # what could not be written cannot be removed
            store = Store(self.root)
            store.remove(self.name)


def _without_answer(node: Node, given: Answer | None, stay: Sequence[Node], patience_s: float) -> Finding | None:
    """Why there is no answer to judge; None if there is one.

    Args:
        stay: the nodes that are in the cluster still: a spot node may go at any time, and that is no fault.
    """
    if given and not isinstance(given.value, Exception):
        return None
    if node not in stay:
        return Finding(node.name, "answer", True, "it has left the cluster meanwhile")
    why = one_line(given.value) if given else f"none within {patience_s:g} s: the node is lost, or busy"
    return Finding(node.name, "answer", False, why)


def _judged(node: Node, value: Mapping[str, Any], seen: bool, ours: Mapping[str, str]) -> Iterator[Finding]:
    for what, ok, detail in value["found"]:
        if what == "store" and ok and not seen:
            ok, detail = False, "the driver does not see what was written here; all nodes must share one store"
        yield Finding(node.name, what, ok, detail)
    theirs: Mapping[str, str] = value["versions"]
    different = differences(ours, theirs)
    same = ", ".join(f"{name} {version}" for name, version in theirs.items())
    yield Finding(node.name, "versions", not different, different or same)


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """What a node has in other versions than the driver, in one line; "" for nothing."""
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{n} is {theirs.get(n, 'missing')}, the driver's {ours.get(n, 'missing')}" for n in names)


def _clock(node: Node, given: Answer) -> Finding:
    off = clock_offset(given.sent, given.value["began"], given.value["ended"], given.received)
    detail = (
        f"at least {abs(off):.1f} s {'behind' if off < 0 else 'ahead of'} the driver's" if off else "as the driver's"
    )
    return Finding(node.name, "clock", abs(off) <= CLOCK_S, detail)


def clock_offset(sent: float, began: float, ended: float, received: float) -> float:
    """The seconds by which a node's clock must be ahead of ours at least (negative: behind), by the times of a call.

    Args:
        sent: when we asked, by our clock.
        began: when the node began, by its own; `ended` when it was done.
        received: when we had its answer, by our clock.
    """
    return min(0.0, began - sent) or max(0.0, ended - received)


def _dry_trials(study: Study, resources: Resources, nodes: Sequence[Node]) -> list[Finding]:
    """What became of a short trial on each node that has the GPU for one; without GPUs, on one node."""
    fitting = [node for node in nodes if fits(placement(resources), node.resources)]
    if not fitting:
        return [Finding("cluster", "dry trial", True, "not tried: no node for it is up")]
    asked = fitting if resources.gpus else fitting[:1]
    trial = {name: getattr(resources, name) for name in ("cpus", "gpus", "device", "deterministic")}
    ask = {**_shared(study), **trial}
    reserved = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    given = answers(dry_trial, dict.fromkeys(asked, ask), DRY_PATIENCE_S, reserved)
    stay = alive()
    silent = {node: _without_answer(node, given.get(node), stay, DRY_PATIENCE_S) for node in asked}
    return [silent[node] or Finding(node.name, "dry trial", *given[node].value) for node in asked]


def _reach_tracking(uri: str) -> str:
    """Uses MLflow's store as far as that leaves nothing. The nodes never talk to it."""
    try:
        check_tracking(uri, given=True)
        if uri.startswith("http"):
            from mlflow import MlflowClient

            # The health page asks for no password. A new server has one experiment; one without any proves no files.
            for experiment in MlflowClient(uri).search_experiments(max_results=1):
                prove_files(experiment.artifact_location, uri)
        elif not uri.startswith("sqlite"):
            import sqlalchemy

            sqlalchemy.create_engine(uri).connect().close()
    except Exception as error:  # each database has errors of its own
        raise Unfit(reason(error)) from None
    return without_password(uri)
