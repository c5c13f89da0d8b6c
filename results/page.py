"""A study as one self-contained HTML page: the table, the verdicts, the pictures, what did not finish."""

from __future__ import annotations

import base64
import html
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from results.sheet import Sheet, flat_columns, joined, one_line

Pictures = Mapping[str, Mapping[str, Path]]

_MARKED = ("helps", "hurts", "inconclusive", "FAILED", "KILLED")  # words that have a colour in the style sheet
_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 94rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .75rem; text-align: left; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; font-weight: 600; }
th { border-bottom: 2px solid #1c2430; }
tbody + tbody { border-top: 2px solid #1c2430; color: #5b6575; }
tbody tr + tr { border-top: 1px solid #e3e7ed; }
td.changed { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
.helps { color: #12723a; font-weight: 600; } .hurts, .FAILED, .KILLED { color: #b3261e; font-weight: 600; }
.inconclusive { color: #7a5b00; }
p.note, figcaption, footer { color: #5b6575; font-size: .875rem; } p.note { margin: .3rem 0; }
li { overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: 1.25rem; align-items: flex-start; }
figure { margin: 0; max-width: 100%; } figure img { display: block; max-width: 100%; height: auto; }
footer { margin-top: 3rem; overflow-wrap: anywhere; }
"""


def html_page(study: str, sheet: Sheet, trials: pd.DataFrame, pictures: Pictures) -> str:
    """The page, in which every text is escaped and every picture inlined.

    Args:
        study: the page's title.
        sheet: the table in words.
        trials: as `table.load_trials` gives them; for their notes and the code and machines they ran on.
        pictures: variant -> caption -> image file.
    """
    title = html.escape(study)
    unfinished = [f"{row.variant}: {line}" for row in sheet.rows for line in row.unfinished]
    notes = trials.loc[trials["status_note"] != "", ["variant", "seed", "status_note"]].itertuples(index=False)
    parts = [
        f"<h1>{title}</h1>",
        f'<div class="scroll">{_table(sheet)}</div>',
        *(f'<p class="note">{html.escape(line[0].upper() + line[1:])}.</p>' for line in sheet.caption),
        _list("Verdicts", _verdict_sentences(sheet) if sheet.several else []),
        _list("Trials that did not finish", unfinished),
        _list("Notes", [f"{variant}, seed {seed}: {one_line(note)}" for variant, seed, note in notes]),
        *_pictures(sheet, pictures),
        f"<footer>{html.escape(_provenance(trials))}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_CSS}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def _table(sheet: Sheet) -> str:
    columns = flat_columns(sheet)
    head = "".join(f"<th>{html.escape(header)}</th>" for header, _ in columns)
    bodies = []
    for controls in (False, True):
        rows = [
            "<tr>" + "".join(_cell(header, texts[i]) for header, texts in columns) + "</tr>"
            for i, row in enumerate(sheet.rows)
            if row.control == controls
        ]
        if rows:
            bodies.append("<tbody>\n" + "\n".join(rows) + "\n</tbody>")
    return f"<table>\n<thead><tr>{head}</tr></thead>\n" + "\n".join(bodies) + "\n</table>"


def _cell(header: str, text: str) -> str:
    word = text.split(",")[0]
    kind = "changed" if header == "what changed" else word if word in _MARKED and header != "variant" else ""
    return f'<td class="{kind}">{html.escape(text)}</td>' if kind else f"<td>{html.escape(text)}</td>"


def _verdict_sentences(sheet: Sheet) -> list[str]:
    sentences = []
    for k, metric in enumerate(sheet.metrics):
        for row in sheet.rows:
            cell = row.cells[k]
            numbers = joined(joined(cell.difference, cell.interval, by=" "), cell.detail)
            if cell.verdict:
                sentences.append(f"{metric.name}, {row.variant}: {cell.verdict}" + (f" ({numbers})" if numbers else ""))
    return sentences


def _list(title: str, lines: Sequence[str]) -> str:
    items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{html.escape(title)}</h2>\n<ul>\n{items}\n</ul>" if lines else ""


def _pictures(sheet: Sheet, pictures: Pictures) -> Iterator[str]:
    """A section a variant, in the table's order; pictures of what is not in the table come last."""
    known = [row.variant for row in sheet.rows if row.variant in pictures]
    for variant in dict.fromkeys([*known, *pictures]):
        figures = "\n".join(_figure(caption, path) for caption, path in pictures[variant].items())
        yield f'<h2>{html.escape(variant)}</h2>\n<div class="pictures">\n{figures}\n</div>'


def _figure(caption: str, path: Path) -> str:
    caption = html.escape(caption)
    # A picture that is gone must not cost the page its table.
    if not path.is_file():
        return f'<p class="note">{caption}: there is no file {html.escape(path.name)}</p>'
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{caption}" src="data:{kind};base64,{data}"><figcaption>{caption}</figcaption></figure>'


def _provenance(trials: pd.DataFrame) -> str:
    """Which code on which machines, as far as the trials' tags say."""
    commits = [commit[:12] for commit in trials["git_commit"].unique() if commit]
    machines = [machine for machine in trials["machine"].unique() if machine]
    changed = trials["git_dirty"].isin(["true", "True", "1"]).any()
    code = f"Code: {', '.join(commits)}{' with changes that are not committed' if changed else ''}." if commits else ""
    return joined(code, f"Machines: {', '.join(machines)}." if machines else "", by=" ")
