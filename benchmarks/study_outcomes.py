"""What studies leave in a store and in MLflow, and the first difference between two of them, to the last bit.

Times, dates, machines, commits and run ids are no part of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

STAGES = ("ddpm", "samples", "reference", "fid", "segmentation")  # in their order: what differs first is the cause
MANIFEST = "manifest.json"  # checksums of the other files, and facts about the making
TIMES = re.compile(r"(.+_)?wall_time_s|gpu_s")
SUMMARY = "summary_row"  # the tag of runs that are made of the trials' runs; a commit of before has none
TAGS = ("variant", "seed", "kind", "position", "delta", "trial_key", "error", "superseded", "status_note")
MISSING = "nothing"
NO_KEY = "none"
Arrays = Mapping[str, NDArray[Any]]


class Difference(NamedTuple):
    """What is not the same, and its two values."""

    where: str
    before: object
    after: object

    def within(self, name: str) -> Difference:
        """The same difference as a part of `name`."""
        return self._replace(where=f"{name}, {self.where}" if self.where else name)


@dataclass(frozen=True)
class Run:
    """What MLflow holds of one trial, and the keys of its artefacts by stage."""

    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, Sequence[tuple[int, float]]]  # each value with its step
    keys: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What the studies left: the store, and by study and trial what MLflow holds."""

    store: Path
    studies: Mapping[str, Mapping[str, Run]]

    @property
    def artefacts(self) -> set[tuple[str, str]]:
        """Stage and key of each one in the store."""
        folders = [path.parent for path in self.store.glob(f"*/*/{MANIFEST}")]
        return {(folder.parent.name, folder.name) for folder in folders}

    @property
    def trials(self) -> dict[str, Run]:
        """Every run of every study, under both names."""
        return {f"{study}, {name}": run for study, runs in self.studies.items() for name, run in runs.items()}


@dataclass
class Comparison:
    """Of what two commits left. `differences` are found one by one, the cause before what follows from it.

    Args:
        by_trial: whether artefacts are paired by trial and stage, whatever their keys.
    """

    before: Outcome
    after: Outcome
    by_trial: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def differences(self) -> Iterator[Difference]:
        """All of them; `counts` says at the end how much was compared."""
        yield from _of_names("study", self.before.studies, self.after.studies)
        for study, runs in self.before.studies.items():
            yield from _of_names(f"run of {study}", runs, self.after.studies.get(study, {}))
        if not self.by_trial:
            yield from self._of_keys()
        for stage, key, other_key in self._pairs():
            self.counts["artefacts"] += 1
            one, other = (side.store / stage for side in (self.before, self.after))
            for difference in self._of_artefacts(one / key, other / other_key):
                yield difference.within(self._named(stage, key, other_key))
        yield from self._of_runs()

    @property
    def _common(self) -> dict[str, tuple[Run, Run]]:
        """The trials that are on both sides."""
        before, after = self.before.trials, self.after.trials
        return {name: (run, after[name]) for name, run in before.items() if name in after}

    def _of_keys(self) -> Iterator[Difference]:
        for stage in _in_order({stage for runs in self._common.values() for run in runs for stage in run.keys}):
            for trial, runs in self._common.items():
                yield from _of_values(f"{trial}, key of {stage}", *(run.keys.get(stage) for run in runs))

    def _pairs(self) -> list[tuple[str, str, str]]:
        """Stage, key before and key after of what is to be the same."""
        pairs = {(stage, key, key) for stage, key in self.before.artefacts | self.after.artefacts}
        if self.by_trial:
            pairs = {
                (stage, one.keys.get(stage, NO_KEY), other.keys.get(stage, NO_KEY))
                for one, other in self._common.values()
                for stage in {*one.keys, *other.keys}
            }
        order = _in_order({stage for stage, *_ in pairs})
        return sorted(pairs, key=lambda pair: (order.index(pair[0]), pair))

    def _named(self, stage: str, key: str, other_key: str) -> str:
        """The artefact with a trial that it belongs to."""
        sides = ((self.before, key), (self.after, other_key))
        owners = [name for side, k in sides for name, run in side.trials.items() if run.keys.get(stage) == k]
        keys = key if key == other_key else f"{key} and {other_key}"
        return f"{stage}/{keys} ({owners[0] if owners else 'of no trial'})"

    def _of_artefacts(self, one: Path, other: Path) -> Iterator[Difference]:
        yield from _of_values("", *("there" if (folder / MANIFEST).exists() else None for folder in (one, other)))
        files = [{p.relative_to(f).as_posix() for p in f.rglob("*") if p.is_file()} for f in (one, other)]
        for name in sorted((files[0] | files[1]) - {MANIFEST}):
            if name not in files[0] & files[1]:
                yield Difference(name, *("there" if name in found else MISSING for found in files))
                continue
            self.counts["arrays"] += len(_arrays(one / name))
            for difference in _of_files(one / name, other / name):
                yield difference.within(name)

    def _of_runs(self) -> Iterator[Difference]:
        for name, (one, other) in self._common.items():
            yield from _of_values(f"{name}, status", one.status, other.status)
            self.counts["metrics"] += sum(len(points) for points in one.metrics.values())
            for metric in _union(one.metrics, other.metrics):
                points = (side.metrics.get(metric, ()) for side in (one, other))
                for difference in _of_points(*points):
                    yield difference.within(f"{name}, metric {metric}")
            for kind, values in (("param", (one.params, other.params)), ("tag", (one.tags, other.tags))):
                for of in _union(*values):
                    if not (of == "trial_key" and self.by_trial):
                        yield from _of_values(f"{name}, {kind} {of}", *(v.get(of) for v in values))


def _of_names(kind: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Difference]:
    """What is on one side alone. A name that has changed is one difference: the new one stands for the old."""
    gone, new = ([n for n in a if n not in b] for a, b in ((before, after), (after, before)))
    for one, other in zip_longest(gone, new, fillvalue=MISSING):
        yield Difference(kind, one, other)


def _of_values(where: str, one: object, other: object) -> Iterator[Difference]:
    if repr(one) != repr(other):  # of floats it has every digit, and a NaN is itself
        yield Difference(where, *(MISSING if value is None else value for value in (one, other)))


def _of_points(one: Sequence[tuple[int, float]], other: Sequence[tuple[int, float]]) -> Iterator[Difference]:
    for (step, value), (other_step, other_value) in zip_longest(one, other, fillvalue=(None, None)):
        if step == other_step:
            yield from _of_values(f"step {step}", value, other_value)
        else:
            yield Difference("the next step", *(MISSING if s is None else s for s in (step, other_step)))


def _of_files(one: Path, other: Path) -> Iterator[Difference]:
    before, after = one.read_bytes(), other.read_bytes()
    if before == after:
        return
    if one.suffix == ".json":  # its layout is not a figure
        yield from _of_json(*(_by_step(json.loads(content)) for content in (before, after)))
        return
    differences = list(_of_arrays(_arrays(one), _arrays(other)))
    if not differences and one.suffix not in (".npy", ".npz"):
        at = next(i for i, (a, b) in enumerate(zip_longest(before, after)) if a != b)
        differences = [Difference(f"byte {at:,}", before[at : at + 8], after[at : at + 8])]
    yield from differences


def _by_step(content: Any) -> Any:
    """The entries of a history, [[step, metrics], ...], by their steps; other contents as they are."""
    try:
        steps = {f"step {step}": dict(metrics) for step, metrics in content}
    except (TypeError, ValueError):
        return content
    return steps if len(steps) == len(content) else content


def _of_json(one: Any, other: Any) -> Iterator[Difference]:
    if isinstance(one, list) and isinstance(other, list):
        one, other = (dict(enumerate(values)) for values in (one, other))
    if not (isinstance(one, dict) and isinstance(other, dict)):
        yield from _of_values("", one, other)
        return
    for name in _union(one, other):
        if name not in one or name not in other:
            yield Difference(str(name), one.get(name, MISSING), other.get(name, MISSING))
            continue
        for difference in _of_json(one[name], other[name]):
            yield difference.within(str(name))


def _arrays(path: Path) -> Arrays:
    """The arrays that the file holds, by name; none in a file of another kind."""
    if path.suffix == ".npy":
        return {"": np.load(path)}
    if path.suffix == ".npz":
        return dict(np.load(path))
    return load_file(path) if path.suffix == ".safetensors" else {}


def _of_arrays(before: Arrays, after: Arrays) -> Iterator[Difference]:
    for name in _union(before, after):
        if name not in before or name not in after:
            yield Difference(name, *("there" if name in arrays else MISSING for arrays in (before, after)))
            continue
        one, other = before[name], after[name]
        kinds = [f"{array.dtype} {array.shape}" for array in (one, other)]
        if kinds[0] != kinds[1]:
            yield Difference(name, *kinds)
        elif one.tobytes() != other.tobytes():
            # As plain bytes: a NaN is itself, and 0 is not -0.
            raw = [array.reshape(-1).view(f"V{array.itemsize}") for array in (one, other)]
            index = np.unravel_index(np.flatnonzero(raw[0] != raw[1])[0], one.shape)
            yield Difference(f"{name}[{', '.join(map(str, index))}]", one[index], other[index])


def _union(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    return list(dict.fromkeys([*one, *other]))


def _in_order(stages: set[str]) -> list[str]:
    """The stages as they run; one that is not known here comes last."""
    return sorted(stages, key=lambda stage: (STAGES.index(stage) if stage in STAGES else len(STAGES), stage))


def outcome(storage: Path) -> Outcome:
    """What studies left in their storage folder."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage.resolve()}/mlflow.db")
    studies: dict[str, dict[str, Run]] = {}
    for experiment in sorted(client.search_experiments(), key=lambda e: int(e.experiment_id)):
        if experiment.name == "Default":
            continue
        runs = studies[experiment.name] = {}
        for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]):
            if SUMMARY in run.data.tags:
                continue
            name, again = run.info.run_name, 1
            while name in runs:  # a second run of one trial is a difference, not a thing to lose
                again += 1
                name = f"{run.info.run_name}, run {again}"
            runs[name] = _run(client, run)
    # By name: which of two workers was first is no figure.
    return Outcome(storage / "store", {study: dict(sorted(runs.items())) for study, runs in studies.items()})


def _run(client: Any, run: Any) -> Run:
    metrics = {}
    for name in sorted(name for name in run.data.metrics if not TIMES.fullmatch(name)):
        history = client.get_metric_history(run.info.run_id, name)
        metrics[name] = sorted(((m.step, m.value) for m in history), key=lambda point: point[0])
    result = Path(unquote(urlparse(run.info.artifact_uri).path), "result.json")
    return Run(
        status=run.info.status,
        params=dict(run.data.params),
        tags={name: value for name, value in run.data.tags.items() if name in TAGS},
        metrics=metrics,
        keys=json.loads(result.read_text())["artefacts"] if result.exists() else {},
    )
