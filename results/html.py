"""A study as one self-contained HTML page: forest plot, table, curves, pictures, how it was done, its data."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from results.effects_shown import effects_section
from results.footnotes import sentence
from results.formatting import counted, joined, one_line
from results.methods import methods
from results.page.breakdown_tables import fid_section, heat_section, iou_section
from results.page.cost import cost
from results.page.data import as_element
from results.page.elements import escaped, folded, listed, note, section
from results.page.encoding import data_uri, recoded
from results.page.forest_plot import forest_plots
from results.page.loss_curves import Seeds, loss_curves
from results.page.pictures import pictures
from results.page.study_table import html_study_table
from results.rows import StudyTable, study_table
from results.study_folder import row_commands
from results.trials import BASELINE, CONTROL, FINISHED, PROBE, without_settings

Pictures = Mapping[str, Mapping[str, Path]]

_PAGE = Path(__file__).with_name("page")


@dataclass(frozen=True)
class Beside:
    """What the page shows beside its table.

    Args:
        shown: variant -> seed -> what is shown of the trial, in the table's order.
        without_pictures: the finished trials of which nothing is shown, by name.
        overview: caption -> image file, of pictures of the whole study.
        study_file: the text of the study as a file; "" where there is none.
        pictures: where all pictures lie.
        effects: of a design's components, as `effects.effects_table` gives them; empty where there is none.
    """

    shown: Mapping[str, Seeds] = field(default_factory=dict)
    without_pictures: Sequence[str] = ()
    overview: Mapping[str, Path] = field(default_factory=dict)
    study_file: str = ""
    pictures: str = "the folder pictures beside this page"
    effects: pd.DataFrame = field(default_factory=pd.DataFrame)


def html_page(study: str, summary: pd.DataFrame, trials: pd.DataFrame, beside: Beside | None = None) -> str:
    """The page, in which every text is escaped, and which needs no other file and no network.

    Args:
        study: the page's title.
        summary: as `summary.summarise` gives it.
        trials: as `trials.load_trials` gives them.
        beside: what else it shows.
    """
    beside, figures = beside or Beside(), without_settings(trials)
    table = study_table(summary, figures)
    parts = [
        f"<header><h1>{escaped(study)}</h1>\n{_lead(figures)}</header>",
        forest_plots(table, summary, figures),
        section("Table", html_study_table(table), *(note(sentence(line)) for line in table.footnotes)),
        effects_section(beside.effects),
        section("Overview", _gallery(beside.overview)),
        _unfinished(table),
        _notes(figures),
        loss_curves(beside.shown),
        pictures(beside.shown, beside.pictures),
        _lost(beside.without_pictures),
        heat_section(trials, summary),
        iou_section(figures),
        fid_section(figures),
        cost(table, summary, figures),
        section("Methods", _paragraph(methods(trials, table.metrics)), _commands(beside.study_file, trials)),
        f"<footer>{escaped(_provenance(trials))}</footer>",
        as_element(study, trials),
    ]
    return _document(study, "\n".join(filter(None, parts)))


def html_table(summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """The page's table alone, with the lines below it."""
    table = study_table(summary, trials)
    return "\n".join([html_study_table(table), *(note(sentence(line)) for line in table.footnotes)])


def html_pictures(pictures: Pictures) -> str:
    """Pictures by variant, each put into the text.

    Args:
        pictures: variant -> caption -> image file.
    """
    return "\n".join(section(variant, _gallery(of_variant)) for variant, of_variant in pictures.items())


def _document(title: str, body: str) -> str:
    style, script = ((_PAGE / name).read_text(encoding="utf-8") for name in ("style.css", "sort.js"))
    # The browser itself refuses whatever is not in the page, and every script but ours.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escaped(title)}</title><link rel="icon" href="data:,"><style>{style}</style></head>\n<body>\n'
        f"{body}\n<script>{script}</script>\n</body></html>\n"
    )


def _lead(trials: pd.DataFrame) -> str:
    """What the study is, in one line."""
    rows = trials[trials["kind"] != PROBE]
    compared = rows.loc[(rows["kind"] != CONTROL) & (rows["variant"] != BASELINE), "variant"].nunique()
    controls = rows.loc[rows["kind"] == CONTROL, "variant"].nunique()
    finished = int((trials["status"] == FINISHED).sum())
    seeds = rows["seed"].nunique()
    counts = [
        f"baseline and {counted(compared, 'variant')}",
        counted(controls, "control"),
        counted(seeds, "seed"),
    ]
    trialled = f"{finished} of {len(trials)} trials finished" if finished < len(trials) else counted(finished, "trial")
    return f'<p class="lead">{escaped(", ".join([*counts, trialled]).capitalize())}.</p>' if len(rows) else ""


def _unfinished(table: StudyTable) -> str:
    lines = [f"{row.variant}: {line}" for row in table.rows for line in row.unfinished]
    return section("Trials that did not finish", listed(lines))


def _notes(trials: pd.DataFrame) -> str:
    notes = trials.loc[trials["status_note"] != "", ["variant", "seed", "status_note"]].itertuples(index=False)
    return section("Notes", listed([f"{variant}, seed {seed}: {one_line(told)}" for variant, seed, told in notes]))


def _lost(names: Sequence[str]) -> str:
    if not names:
        return ""
    named = ", ".join([*names[:6], *([f"{len(names) - 6} more"] if len(names) > 6 else [])])
    return note(f"Without pictures here: {named}. The study's command, where its store is, draws what is missing.")


def _paragraph(sentences: Sequence[str]) -> str:
    return f"<p>{escaped(' '.join(sentences))}</p>" if sentences else ""


def _commands(file: str, trials: pd.DataFrame) -> str:
    """The command of each row, and the file that all of them read."""
    rows = row_commands(file, trials)
    items = "".join(f"<li>{escaped(variant)}: <code>{escaped(command)}</code></li>\n" for variant, command in rows)
    commands = f"<ul>\n{items}</ul>" if items else ""
    reading = note("Each makes its row, the baseline and the controls, from the file below.")
    return "\n".join(
        [
            folded("The command of each row", commands, commands and reading),
            folded("study.yaml", f"<pre>{escaped(file)}</pre>" if file else ""),
        ]
    ).strip()


def _gallery(pictures: Mapping[str, Path]) -> str:
    figures = "\n".join(_figure(caption, path) for caption, path in pictures.items())
    return f'<div class="pictures">\n{figures}\n</div>' if pictures else ""


def _figure(caption: str, path: Path) -> str:
    # A picture that is gone must not cost the page its table.
    if not path.is_file():
        return note(f"{caption}: there is no file {path.name}")
    content, caption = path.read_bytes(), escaped(caption)
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    if kind == "image/png":
        content, kind = recoded(content)
    return f'<figure><img alt="{caption}" src="{data_uri(content, kind)}"><figcaption>{caption}</figcaption></figure>'


def _provenance(trials: pd.DataFrame) -> str:
    """Which code on which machines, as far as the trials' tags say."""
    commits = [commit[:12] for commit in trials["git_commit"].unique() if commit]
    machines = [machine for machine in trials["machine"].unique() if machine]
    changed = trials["git_dirty"].isin(["true", "True", "1"]).any()
    code = f"Code: {', '.join(commits)}{' with changes that are not committed' if changed else ''}." if commits else ""
    return joined(code, f"Machines: {', '.join(machines)}." if machines else "", by=" ")
