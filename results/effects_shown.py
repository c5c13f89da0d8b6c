"""A design's effects as people read them: on the console, in Markdown and in HTML, all from the same words."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator

import pandas as pd
from rich.box import HORIZONTALS
from rich.table import Column, Table
from rich.text import Text

from results.effects import FACTORIAL, FRACTION, INTERACTION, MAIN, REMOVAL
from results.footnotes import sentence
from results.formatting import NOTHING, counted, interval, joined, number, one_line, p_value
from results.metrics import Metric, read_metrics

TITLE = "Effects of the components"
HEADERS = ("metric", "effect", "Δ [95 %]", "p", "verdict")
_STYLES = {
    "helps": "green",
    "better together": "green",
    "hurts": "red",
    "worse together": "red",
    "inconclusive": "yellow",
}


def shown_metrics(effects: pd.DataFrame) -> list[Metric]:
    """The metrics that are read, as in the study's table; effects.csv has them all."""
    return read_metrics(set(effects["metric"]), effects)


def console_effects(effects: pd.DataFrame) -> Table:
    """The effects, and below them how they are to be read.

    Args:
        effects: as `effects.effects_table` gives them; so in the functions below.
    """
    drawn = Table(
        *(Column(header, overflow="fold") for header in HEADERS),
        box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold",
        title=TITLE, title_justify="left", title_style="bold",
        caption=Text("\n".join(notes(effects))), caption_justify="left",
    )  # fmt: skip
    for metric in shown_metrics(effects):
        for *texts, verdict in _rows(effects, metric):
            drawn.add_row(*map(Text, texts), Text(verdict, style=_STYLES.get(verdict, "")))
        drawn.add_section()
    return drawn


def markdown_effects(effects: pd.DataFrame) -> str:
    """The effects in GitHub's Markdown; "" where there are none."""
    if effects.empty:
        return ""
    lines = [f"| {' | '.join(HEADERS)} |", "| :-- | :-- | --: | --: | :-- |"]
    rows = [row for metric in shown_metrics(effects) for row in _rows(effects, metric)]
    lines += [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
    below = [_escaped(sentence(note)) for note in notes(effects)]
    return "\n\n".join([f"**{TITLE}**", "\n".join(lines), "\n".join(below)]) + "\n"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")


def effects_section(effects: pd.DataFrame) -> str:
    """The effects as a section of the study's page; "" where there are none."""
    if effects.empty:
        return ""
    head = "".join(f"<th>{header}</th>" for header in HEADERS)
    bodies = [
        "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in _rows(effects, metric))
        for metric in shown_metrics(effects)
    ]
    below = "".join(f'<p class="note">{html.escape(sentence(note))}</p>' for note in notes(effects))
    table = f"<table><thead><tr>{head}</tr></thead>{''.join(f'<tbody>{body}</tbody>' for body in bodies)}</table>"
    return f'<h2>{TITLE}</h2>\n<div class="scroll">{table}</div>\n{below}'


def _cell(text: str) -> str:
    kind = {"better together": "helps", "worse together": "hurts"}.get(text, text if text in _STYLES else "")
    return f'<td class="{kind}">{html.escape(text)}</td>' if kind else f"<td>{html.escape(text)}</td>"


def _rows(effects: pd.DataFrame, metric: Metric) -> Iterator[tuple[str, ...]]:
    """A text a header."""
    for row in effects[effects["metric"] == metric.name].to_dict("records"):
        estimate = NOTHING if math.isnan(row["estimate"]) else number(row["estimate"], metric, sign="+")
        ends = "" if math.isnan(row["p"]) else interval(row["ci_low"], row["ci_high"], metric)
        yield (
            f"{metric.name} {metric.arrow}",
            one_line(joined(row["effect"], row["aliases"], by=" ")),
            joined(estimate, ends, by=" "),
            NOTHING if math.isnan(row["p"]) else p_value(row["p"]),
            row["verdict"],
        )


def notes(effects: pd.DataFrame) -> Iterator[str]:
    """The lines below the effects, each without a full stop."""
    kinds, design = set(effects["kind"]), effects.attrs["design"]
    if MAIN in kinds:
        yield "Δ of a component: the mean of the cells in which it is on less that of those in which it is off"
    if REMOVAL in kinds:
        yield "Δ of a component: all of them together less all but this one"
    if INTERACTION in kinds:
        yield "Δ of a × b: half of what b adds to the change that a makes; 0 where the changes add up"
    if effects["p"].notna().any():
        yield (
            "least squares with the seeds as blocks; the intervals of one metric hold together with 95 % (studentised "
            "maximum modulus), and p is theirs"
        )
    if design.get("name") == FRACTION:
        yield "interactions of three and more components are taken for 0: the cells do not tell them from these effects"
    elif design.get("name") == FACTORIAL and len(design["components"]) > 2:
        alone = ", and with one seed all of it" if effects["seeds"].max() == 1 else ""
        yield f"interactions of three and more components are taken for noise: they are in the residual{alone}"
    if (effects["aliases"] != "").any():
        yield "+ and − in an effect: the cells tell this sum alone, and none of its parts"
    yield from _counts(effects)


def _counts(effects: pd.DataFrame) -> Iterator[str]:
    """Of how many trials each fit is, and which cells it lacks."""
    for metric in shown_metrics(effects):
        row = effects[effects["metric"] == metric.name].iloc[0]
        of = f"{row['n']} of {row['trials']} trials" if row["n"] < row["trials"] else f"{row['n']} trials"
        seeds = counted(row["seeds"], "seed")
        lacks = f"; no figure of {row['missing']}" if row["missing"] else ""
        yield f"{metric.name}: {of}, {seeds}, {row['df']} degrees of freedom of the residual{one_line(lacks)}"
