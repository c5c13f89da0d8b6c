"""What a study would do: its trials, what each changes, what it costs and how long it would take here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Column, Table
from rich.text import Text

from orchestrator.cluster.cores import cpus
from orchestrator.cluster.resources import Resources, gpus
from orchestrator.console import console
from orchestrator.planning.plan import Study, Trial, point
from orchestrator.planning.speed import Speed, guessed_speed, measured_speed
from results.formatting import duration
from results.size import MARK, marked
from trainables.data import About, Survey
from trainables.store import Store

UNSEEN = 4  # classes without a pixel that are named


def show_plan(study: Study, store: Store, resources: Resources) -> None:
    """Prints the plan; nothing is started or written."""
    speed = _speed(study.trials, store, resources)
    out = console()
    out.print(f"study {study.name} (preset {study.preset}), {len(study.trials)} trials")
    for line in study.design.told if study.design else ():
        out.print(line, soft_wrap=True, markup=False, highlight=False)
    done = sum(not _missing(trial, store) for trial in study.trials)
    out.print(f"in the store: all stages of {done} of {len(study.trials)} trials", soft_wrap=True)
    for why in study.left_out:
        out.print(f"left out: {why}", soft_wrap=True)
    for remark in study.remarks:
        out.print(remark, soft_wrap=True)
    _show_data(study)
    own = _own_flops(study.trials, store)
    out.print(_table(study, own, store, speed))
    for name, words in study.unlike.items():
        out.print(f"{MARK} {name}: {words}", soft_wrap=True, markup=False, highlight=False)
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
    _show_data(study)
    table = Table(*(Column(heading, overflow="fold") for heading in ("setting", "from")))
    for setting, words in ranges.items():
        table.add_row(setting, words)
    out.print(table)
    first = sum(_own_flops([baseline], store).values())
    _show_time(first + (trials - 1) * baseline.flops["segmentation"], first, trials, speed, resources)


def _show_data(study: Study) -> None:
    """Prints the data's splits, what their masks hold, and what a person should know of them."""
    console().print(study.data_told, soft_wrap=True, highlight=False)
    if study.survey and study.about.class_names:
        console().print(_classes(study.about, study.survey))
    for note in study.notes:
        console().print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)


def _classes(about: About, survey: Survey) -> Table:
    """The share of pixels of each number that the masks hold, before any resize."""
    table = Table("number", "class", "label pool", "held out", title="pixels of the masks", title_justify="left")
    pairs = list(zip(survey.label_pixels, survey.held_out_pixels, strict=True))
    sums = [max(1, sum(pixels)) for pixels in zip(*pairs, strict=True)]
    for number, pixels in enumerate(pairs):
        if any(pixels):
            name = "void" if number == about.ignore_index else about.class_names[number]
            table.add_row(str(number), Text(name), *(_share(n / total) for n, total in zip(pixels, sums, strict=True)))
    unseen = [name for number, name in enumerate(about.class_names) if not any(pairs[number])]
    if unseen:
        names = ", ".join(unseen[:UNSEEN]) + (", ..." if len(unseen) > UNSEEN else "")
        table.add_row("", Text(f"{len(unseen)} more: {names}"), "-", "-")
    return table


def _share(share: float) -> str:
    return "-" if not share else "< 0.1 %" if share < 0.0005 else f"{100 * share:.1f} %"


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
    gpu_hours = f", {flops / speed.flops * resources.gpus / 3600:.2g} GPU-hours" if names else ""
    where = f"{names[0]}, {resources.gpus:g} a trial" if names else f"CPU, {resources.cpus} of {cpus()} cores a trial"
    # Longer than the work of a tiny study, and nothing that a store could have measured.
    start = ", and the start of Ray and its workers' imports" if flops else ""
    console().print(
        f"about {duration(busy_s)} in all{gpu_hours}{start}; {at_once} at once on {where}; "
        f"{speed.flops / 1e9:.0f} GFLOP/s a trial ({speed.source})"
    )


def _table(study: Study, own: Mapping[str, float], store: Store, speed: Speed) -> Table:
    table = Table(*(Column(heading, overflow="fold") for heading in ("trial", "what changed")))
    for heading in ("parameters", "TFLOP", "time", "stages to run"):
        table.add_column(heading, justify="left" if heading == "stages to run" else "right")
    for trial in study.trials:
        table.add_row(
            trial.name,
            trial.delta,
            marked(f"{trial.parameters:,}", study.unlike.get(trial.variant, "")) if trial.parameters else "",
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
