"""What lies in a study's folder beside its table: what a page shows of each trial, and the study as a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from results.shown import FILE, Shown
from results.summary import variants
from results.trials import BASELINE, FINISHED, PROBE, UNTESTED

STUDY_FILE = "study.yaml"
_COMMAND = "#   "  # what begins the line of the file that says how it is run
_EARLIER = "by the study.yaml among the files of its runs in MLflow: the study's own is of a later command"


def shown_of(folder: Path, trials: pd.DataFrame) -> dict[str, dict[int, Shown]]:
    """What is shown of each finished trial: variant -> seed -> its images and losses, in the table's order.

    Args:
        folder: the study's.
        trials: as `trials.load_trials` gives them.
    """
    seeds: dict[str, list[int]] = {}
    for variant, seed in _pictured(trials):
        seeds.setdefault(variant, []).append(seed)
    found: dict[str, dict[int, Shown]] = {}
    for variant in variants(trials)["variant"]:
        for seed in seeds.get(variant, []):
            if (shown := Shown.load(folder / "pictures" / f"{variant}-seed{seed}" / FILE)) is not None:
                found.setdefault(variant, {})[seed] = shown
    return found


def without_pictures(shown: dict[str, dict[int, Shown]], trials: pd.DataFrame) -> list[str]:
    """The finished trials of which nothing is shown, by name."""
    return [f"{variant}-seed{seed}" for variant, seed in _pictured(trials) if seed not in shown.get(variant, {})]


def study_file(folder: Path) -> str:
    """The text of the study as a file; "" where there is none."""
    try:
        return (folder / STUDY_FILE).read_text(encoding="utf-8")
    except OSError:
        return ""


def command_of(file: str) -> str:
    """The command that runs the study's file, as its first lines say; "" where they do not."""
    lines = (line for line in file.splitlines()[:4] if line.startswith(_COMMAND))
    return next(lines, "").removeprefix(_COMMAND)


def row_commands(file: str, trials: pd.DataFrame) -> list[tuple[str, str]]:
    """The command that makes each row again, beside the baseline and the controls: (variant, command).

    A row that the file does not name, as it was kept from an earlier command, has what says where its file is.

    Args:
        file: the text of the study as a file; "" where there is none.
        trials: as `trials.load_trials` gives them.
    """
    command = command_of(file)
    if not command:
        return []
    known = {BASELINE, *(yaml.safe_load(file).get("variants") or {})}
    rows, made = trials[~trials["kind"].isin(UNTESTED)], []
    for variant, own in rows.groupby("variant", sort=False):
        seeds = " ".join(str(seed) for seed in sorted(own["seed"].unique()))
        again = f"{command} --variants {variant} --seeds {seeds}"
        made.append((str(variant), again if variant in known else _EARLIER))
    return made


def _pictured(trials: pd.DataFrame) -> list[tuple[str, int]]:
    """The trials that have pictures, where nothing went wrong: (variant, seed)."""
    rows = trials.loc[(trials["status"] == FINISHED) & (trials["kind"] != PROBE), ["variant", "seed"]]
    return [(str(variant), int(seed)) for variant, seed in rows.to_numpy()]
