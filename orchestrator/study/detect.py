"""`ablations --detect 2%`: how many seeds it takes to see such a difference, from the spread of what has been run."""

from __future__ import annotations

import re

from rich.console import Console

from orchestrator.errors import UsageError
from orchestrator.planning.plan import Study
from orchestrator.storage.locations import Locations
from orchestrator.study.recorded import recorded
from results.alpha_spending import CLAIMS_FROM

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def share(text: str) -> float:
    """The share that '2%' is: 0.02.

    Raises:
        UsageError: it is none between 0 and 100 %.
    """
    found = _PERCENT.fullmatch(text.strip())
    if not found or not 0 < float(found[1]) < 100:
        raise UsageError(f"--detect: must be a percentage of the baseline's figure, such as 2%, but got {text!r}")
    return float(found[1]) / 100


def show_seeds_needed(study: Study, locations: Locations, wanted: float, out: Console) -> None:
    """Prints, for each metric, the seeds that find such a difference in 8 of 10 studies.

    Args:
        study: that is planned; what it has run so far is what is learned from.
        locations: where its records are.
        wanted: the difference, as a share of the baseline's figure.
        out: where to print.

    Raises:
        UsageError: nothing of it has run with two seeds or more, so that no spread is known.
    """
    from results.formatting import number
    from results.metrics import MAIN_METRICS
    from results.power import MOST_SEEDS, POWER, seeds_needed, spread
    from results.summary import column

    try:
        trials = recorded(study.name, locations).trials
    except LookupError as error:
        raise UsageError(f"--detect: no spread is known yet, as nothing has run ({error})") from None
    variants = len({trial.variant for trial in study.trials if trial.kind == "variant"}) - 1
    lines = []
    for metric in MAIN_METRICS:
        _, figures = column(trials, metric)
        log_scale = metric.log_scale and figures.on_log_scale
        known = spread(figures.values, log_scale=log_scale)
        if known is None:
            continue
        needed = seeds_needed(known, known.of(wanted), variants)
        seeds = f"{needed} seeds" if needed else f"more than {MOST_SEEDS} seeds"
        level = number(known.level, metric)
        sd = f"{known.own:.1%}" if log_scale else number(known.own, metric)
        lines.append(f"{metric.name} {level}: {seeds} (SD {sd} with {known.df} degrees of freedom)")
    if not lines:
        raise UsageError(
            f"--detect: no spread is known yet: {study.name} needs two seeds or more of two variants first"
        )
    out.print(f"to see {wanted * 100:g}% of the baseline's figure in {POWER:.0%} of studies of {variants} variants:")
    out.print(*lines, sep="\n")
    out.print(f"{CLAIMS_FROM} at least, asked for at once: seeds that are added later are held to more")
