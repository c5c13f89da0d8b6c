"""What a study would do: its trials, what each changes, what it costs and how long it would take here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table

from orchestrator.cluster.cores import cpus
from orchestrator.cluster.resources import Resources, gpus
from orchestrator.console import console
from orchestrator.planning.plan import Study, Trial, point
from orchestrator.planning.speed import Speed, guessed_speed, measured_speed
from results.formatting import duration
from trainables.store import Store


def show_plan(study: Study, store: Store, resources: Resources) -> None:
    """Prints the plan; nothing is started or written."""
    speed = _speed(study.trials, store, resources)
    out = console()
    out.print(f"study {study.name} (preset {study.preset}), {len(study.trials)} trials")
    for why in study.left_out:
        out.print(f"left out: {why}", soft_wrap=True)
    own = _own_flops(study.trials, store)
    out.print(_table(study, own, store, speed))
    _show_time(sum(own.values()), max(own.values()), len(study.trials), speed, resources)


def show_search(study: Study, ranges: Mapping[str, str], trials: int, store: Store, resources: Resources) -> None:
    """Prints what a search may vary, and what so many points like the baseline cost; nothing is started or written.

    Args:
        ranges: what each setting may be, in words.
    """
    baseline = point(study, {}, 0)
    speed = _speed([baseline], store, resources)
    out = console()
    out.print(f"search {study.name} (preset {study.preset}), {trials} points in all, for the best {study.objective}")
    table = Table("setting", "from")
    for setting, words in ranges.items():
        table.add_row(setting, words)
    out.print(table)
    first = sum(_own_flops([baseline], store).values())
    _show_time(first + (trials - 1) * baseline.flops["segmentation"], first, trials, speed, resources)


def _speed(trials: Iterable[Trial], store: Store, resources: Resources) -> Speed:
    names = gpus() if resources.gpus else []
    return measured_speed(store, trials, names[0] if names else "cpu") or guessed_speed(bool(names))


def _show_time(flops: float, longest: float, trials: int, speed: Speed, resources: Resources) -> None:
    """Prints how long so many operations, spread over so many trials, take on this machine.

    Args:
        longest: the operations of the largest trial, which no other can share.
    """
    names = gpus() if resources.gpus else []
    at_once = _at_once(resources, trials)
    busy_s = max(flops / at_once, longest) / speed.flops
    where = f"{names[0]}, {resources.gpus:g} a trial" if names else f"CPU, {resources.cpus} of {cpus()} cores a trial"
    console().print(
        f"about {duration(busy_s)} in all, {at_once} at once on {where}; "
        f"{speed.flops / 1e9:.0f} GFLOP/s a trial ({speed.source})"
    )


def _table(study: Study, own: Mapping[str, float], store: Store, speed: Speed) -> Table:
    table = Table("trial", "what changed")
    for heading in ("parameters", "TFLOP", "time", "stages to run"):
        table.add_column(heading, justify="left" if heading == "stages to run" else "right")
    for trial in study.trials:
        table.add_row(
            trial.name,
            trial.delta,
            f"{trial.parameters:,}" if trial.parameters else "",
            f"{sum(trial.flops.values()) / 1e12:.2f}",
            f"~{duration(own[trial.name] / speed.flops)}",
            ", ".join(_missing(trial, store)) or "none: all in the store",
        )
    return table


def _missing(trial: Trial, store: Store) -> list[str]:
    return [stage for stage, key in trial.stages.items() if not store.has(stage, key)]


def _own_flops(trials: Iterable[Trial], store: Store) -> dict[str, float]:
    """What each trial has to compute, by name: a stage that several need counts for the first of them."""
    counted: set[str] = set()
    own: dict[str, float] = {}
    for trial in trials:
        new = [stage for stage in _missing(trial, store) if trial.stages[stage] not in counted]
        counted |= {trial.stages[stage] for stage in new}
        own[trial.name] = sum(trial.flops[stage] for stage in new)
    return own


def _at_once(resources: Resources, trials: int) -> int:
    fit = int(len(gpus()) / resources.gpus) if resources.gpus else int(cpus() / resources.cpus)
    return max(1, min(fit, trials, resources.max_concurrent or trials))
