"""A study's report as files: CSV, Markdown, LaTeX and one self-contained HTML page.

All of them, and the console, are drawn from the same rows of words, so that they cannot tell different stories. A
number is never shown without what qualifies it: its n, its spread where there is one, and the seeds that failed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from results.breakdowns import iou_by_class, miou_by_block_and_timestep
from results.effects import effects_table
from results.effects_shown import markdown_effects
from results.formatting import joined
from results.html import Beside, html_page
from results.latex import latex_table
from results.markdown import markdown_table
from results.study_folder import shown_of, study_file, without_pictures
from results.trials import without_settings


def write(
    summary: pd.DataFrame,
    trials: pd.DataFrame,
    folder: Path,
    *,
    study: str | None = None,
    overview: Mapping[str, Path] | None = None,
) -> list[Path]:
    """The paths of what is written, each file replaced as a whole.

    These are `table.csv`, `table.md`, `table.tex` and `report.html`, and where trials have what they show
    `iou_by_class.csv` and `heat_map.csv`, and of a design `effects.csv`.

    Args:
        summary: as `summary.summarise` gives it; table.csv is all of it, the others show the main metrics.
        trials: as `trials.load_trials` gives them.
        folder: is made where it is missing. What lies in it of the trials' pictures and losses is put into the page,
            and so is the study as a file; the page needs no other file.
        study: the page's title; by default the folder's name.
        overview: caption -> image file, of pictures of the whole study; they stand below the page's table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    breakdowns = {"iou_by_class.csv": iou_by_class(trials), "heat_map.csv": miou_by_block_and_timestep(trials)}
    effects = effects_table(trials)
    breakdowns |= {"effects.csv": effects.set_index(["metric", "effect"])}
    shown, figures = shown_of(folder, trials), without_settings(trials)
    beside = Beside(shown, without_pictures(shown, trials), overview or {}, study_file(folder), effects=effects)
    texts = {
        "table.csv": summary.to_csv(index=False, lineterminator="\n"),
        "table.md": joined(markdown_table(summary, figures), markdown_effects(effects), by="\n"),
        "table.tex": latex_table(summary, figures),
        "report.html": html_page(study or folder.resolve().name, summary, trials, beside),
        **{name: frame.to_csv(lineterminator="\n") for name, frame in breakdowns.items() if not frame.empty},
    }
    for name, text in texts.items():
        _replace(folder / name, text)
    for name in breakdowns.keys() - texts.keys():
        # What an earlier write left would stand beside a table that it does not belong to.
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in texts]


def _replace(path: Path, text: str) -> None:
    # A reader, or a crash, must never meet half a table.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
