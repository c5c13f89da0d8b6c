"""One trial: the stages in order, each made once and stored.

    for record in run_trial(config, store):   # progress, metrics with their steps, and last the result
        ...

It needs neither Ray nor MLflow: the orchestrator passes the records on, a notebook may print them.
"""

from __future__ import annotations

import math
import platform
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from trainables.checkpoints import Checkpoints
from trainables.claims import Claims
from trainables.config import Config
from trainables.data import load
from trainables.determinism import modes
from trainables.finite import Diverged
from trainables.inputs import NOWHERE, Inputs
from trainables.progress import Making, Progress, Write
from trainables.stages import BY_NAME, code_of, stage_keys, stage_source
from trainables.stages.stage import Context
from trainables.store import METRICS, Store, away, write_json

HISTORY = "history.json"  # what the stage logged, with its steps
STORE_PATIENCE_S = 600.0  # how long a trial waits for a store that is full or away
STORE_RETRY_S = 5.0
CODE_CHANGED = "the code has been changed since the study was started, or is another on this machine"
DATA_CHANGED = "the data have been changed since the study was started, or are others on this machine"
CLAIM_RETRY_S = (0.3, 1.0)  # at random between these, so that two claimers do not go on meeting

T = TypeVar("T")


class Changed(Exception):
    """The data or the code are not those any more that the trial was planned with; nothing was made of them."""


@dataclass
class Record:
    """One message of a running trial. `metrics` belong to `step` of `stage`; `result` comes once, at the end."""

    stage: str
    step: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    note: str = ""
    result: dict[str, Any] | None = None


def run_trial(
    config: Config,
    store: Store,
    device: str = "cpu",
    checkpoint_interval_s: float = 60.0,
    inputs: Inputs = NOWHERE,
    gpus: float = 1.0,
    keys: Mapping[str, str] | None = None,
) -> Generator[Record, None, None]:
    """The records of one trial. The last one's `result` has `metrics`, `artefacts` (keys) and `wall_time_s` by stage.

    Args:
        gpus: that the trial has, or its share of one; its GPU-seconds are counted by it.
        keys: of its stages, where some of other code are accepted; None for those of this code.

    Raises:
        DataError: the data, a checkpoint or a metric's network are not there or cannot be used.
        Diverged: a loss, a weight, a sample, a feature or a metric is not finite.
        Changed: what is to be made would not be what `keys` stand for.
        OSError: the store stayed full or away.
    """
    trial = Trial(config, store, torch.device(device), checkpoint_interval_s, inputs, gpus, keys)
    for stage in trial.keys:
        for progress in trial.made(stage):
            yield Record(stage, **vars(progress))
    yield Record("done", 1, 1, result=trial.result())


class Trial:
    """The stages of one trial on one device."""

    def __init__(
        self,
        config: Config,
        store: Store,
        device: torch.device,
        checkpoint_interval_s: float = 60.0,
        inputs: Inputs = NOWHERE,
        gpus: float = 1.0,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.store, self.device, self.gpus = store, device, gpus if device.type == "cuda" else 0.0
        self.checkpoint_interval_s, self.claims = checkpoint_interval_s, Claims(store)
        data = load(config.data, inputs.data_root)
        self.keys = dict(keys) if keys else stage_keys(config, data.about)
        self.context = Context(config, data, device, inputs)

    def made(self, stage: str) -> Generator[Progress, None, None]:
        """Progress until `stage` is in the store: found there, made here, or made by another trial that needs it too.

        What the stage logged when it was made is told anew.
        """
        key, waits, made = self.keys[stage], False, False
        while (found := (yield from self._patiently(partial(self.store.find, stage, key)))) is None:
            if made:
                raise OSError(f"{stage} was written to {self.store.root} and cannot be read back")
            claim = yield from self._patiently(partial(self.claims.claim, f"{stage}-{key}"))
            if claim is None:
                if not waits:
                    yield Progress(0, 1, note=f"waits for {stage}, which another trial is making")
                waits = True
                yield Progress(0, 1)
                time.sleep(random.uniform(*CLAIM_RETRY_S))
                continue
            with claim:
                if not self.store.has(stage, key):  # its last maker may have ended between the look and the claim
                    yield from self._make(stage)
                    made = True
        self.context.artefacts[stage] = found
        history = [(step, metrics) for step, metrics in found.json(HISTORY)]
        yield Progress(1, 1, history=history)

    def _make(self, stage: str) -> Generator[Progress, None, None]:
        """Makes the stage and publishes it."""
        self._refuse_changes(stage)
        facts: dict[str, Any] = {"machine": platform.node(), "device": _device_name(self.device), "gpus": self.gpus}
        facts |= {
            "made": time.time(),
            "source": dict(stage_source(self.context.config, self.context.data.about, stage)),
        }
        facts |= {"threads": torch.get_num_threads(), "versions": _versions(), "modes": modes(self.device)}
        checkpoints = Checkpoints(self.store, stage, self.keys[stage], self.checkpoint_interval_s)
        history: list[tuple[int, dict[str, float]]] = []
        maker = self._made_in_parts(stage, checkpoints)
        try:
            while True:
                progress = next(maker)
                history += progress.history + ([(progress.step, progress.metrics)] if progress.metrics else [])
                yield progress
        except StopIteration as end:
            write: Write = end.value
        facts["wall_time_s"] = checkpoints.spent_s
        if self.context.parts > 1:
            facts["note"] = f"GPU out of memory: each batch in {self.context.parts} parts, their gradients added up"
        checkpoints.wait()
        yield from self._patiently(partial(self._publish, stage, facts, write, history))
        checkpoints.clear()

    def _refuse_changes(self, stage: str) -> None:
        """Raises `Changed` where this process would make something else than the stage's key stands for."""
        others = {name: code_of(key) for name, key in self.keys.items() if name != stage}  # some may be accepted
        today, key = stage_keys(self.context.config, self.context.data.about, others)[stage], self.keys[stage]
        if today != key:
            raise Changed(CODE_CHANGED if today.partition("-")[0] == key.partition("-")[0] else DATA_CHANGED)

    def _publish(self, stage: str, facts: dict[str, Any], write: Write, history: list[Any]) -> None:
        with self.store.publish(stage, self.keys[stage], facts) as folder:
            write(folder)
            write_json(folder / HISTORY, history)

    def _made_in_parts(self, stage: str, checkpoints: Checkpoints) -> Making:
        """The stage's making; if the GPU's memory is short, once more with each batch in two parts."""
        try:
            return (yield from BY_NAME[stage].make(self.context, checkpoints))
        except torch.OutOfMemoryError:
            if self.context.parts > 1:
                raise
            self.context.parts = 2
        torch.cuda.empty_cache()
        yield Progress(0, 1, note="GPU out of memory: once more, each batch in 2 parts")
        return (yield from BY_NAME[stage].make(self.context, checkpoints))

    def _patiently(self, action: Callable[[], T]) -> Generator[Progress, None, T]:
        """The action's result; while the store is full or away, again and again for a while, and saying so."""
        deadline = time.monotonic() + STORE_PATIENCE_S
        while True:
            try:
                return action()
            except away() as error:
                if time.monotonic() > deadline:
                    raise
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                yield Progress(0, 1, note=f"the store {self.store.root} cannot be used ({reason}); trying again")
                time.sleep(STORE_RETRY_S)

    def result(self) -> dict[str, Any]:
        """The trial's figures, the folders that they came from, and the time that making them took."""
        metrics: dict[str, float] = {}
        for stage, artefact in self.context.artefacts.items():
            if BY_NAME[stage].metrics(self.context.config):
                metrics |= artefact.json(METRICS)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value}")
        times = {stage: artefact.facts["wall_time_s"] for stage, artefact in self.context.artefacts.items()}
        facts = [artefact.facts for artefact in self.context.artefacts.values()]
        return {
            "metrics": metrics,
            "artefacts": dict(self.keys),
            "wall_time_s": times,
            "gpu_s": sum(fact["wall_time_s"] * fact["gpus"] for fact in facts if fact["device"] != "cpu"),
            "machine": "; ".join(dict.fromkeys(f"{fact['machine']}, {fact['device']}" for fact in facts)),
            "made_with": "; ".join(sorted({_made_with(fact) for fact in facts})),
            "note": "; ".join(dict.fromkeys(fact["note"] for fact in facts if "note" in fact)),
        }


def _versions() -> dict[str, str]:
    """Of what a figure's last digits depend on beside our own code."""
    return {"numpy": np.__version__, "python": platform.python_version(), "torch": torch.__version__}


def _made_with(facts: Mapping[str, Any]) -> str:
    """What an artefact was made with, in words: `cpu, 1 thread, numpy 2.3.0, python 3.12.1, torch 2.11.0`."""
    if "versions" not in facts:  # of before it was recorded
        return f"{facts['device']}, the rest was not recorded"
    threads = f"{facts['threads']} thread{'s' if facts['threads'] > 1 else ''}"
    versions = [f"{name} {version}" for name, version in sorted(facts["versions"].items())]
    return ", ".join([facts["device"], threads, *facts.get("modes", []), *versions])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
