"""A study as one self-contained HTML page: table, verdicts, what did not finish, breakdowns, pictures."""

from __future__ import annotations

import base64
import html
import math
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from results.breakdowns import fid_by_samples, iou_by_class
from results.footnotes import sentence
from results.formatting import NOTHING, joined, number, one_line
from results.metrics import FRECHET_METRICS, METRICS, Metric
from results.rows import StudyTable, flat_columns, study_table
from results.summary import variants
from results.trials import CONTROL, FINISHED

Pictures = Mapping[str, Mapping[str, Path]]

_MARKED = ("helps", "hurts", "inconclusive", "FAILED", "KILLED")  # words that have a colour in the style sheet
_MIOU = next(metric for metric in METRICS if metric.name == "miou")
_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 94rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .75rem; text-align: left; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; font-weight: 600; position: sticky; left: 0; background: #fff; }
th { border-bottom: 2px solid #1c2430; }
tbody + tbody { border-top: 2px solid #1c2430; color: #5b6575; }
b { color: #1c2430; font-weight: 700; }
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


def html_page(
    study: str,
    summary: pd.DataFrame,
    trials: pd.DataFrame,
    pictures: Pictures,
    overview: Mapping[str, Path] | None = None,
) -> str:
    """The page, in which every text is escaped and every picture inlined.

    Args:
        study: the page's title.
        summary: as `summary.summarise` gives it.
        trials: as `trials.load_trials` gives them.
        pictures: variant -> caption -> image file.
        overview: caption -> image file, of pictures of the whole study.
    """
    title, table = html.escape(study), study_table(summary, trials)
    unfinished = [f"{row.variant}: {line}" for row in table.rows for line in row.unfinished]
    notes = trials.loc[trials["status_note"] != "", ["variant", "seed", "status_note"]].itertuples(index=False)
    parts = [
        f"<h1>{title}</h1>",
        f'<div class="scroll">{_table(table)}</div>',
        *(_note(sentence(line)) for line in table.footnotes),
        _gallery("Overview", overview or {}),
        _list("Verdicts", _verdict_sentences(table) if table.several else []),
        _list("Trials that did not finish", unfinished),
        _list("Notes", [f"{variant}, seed {seed}: {one_line(note)}" for variant, seed, note in notes]),
        _iou_section(trials),
        _fid_section(trials),
        *_pictures(table, pictures),
        f"<footer>{html.escape(_provenance(trials))}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_CSS}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def html_table(summary: pd.DataFrame, trials: pd.DataFrame) -> str:
    """The page's table alone, with the lines below it."""
    table = study_table(summary, trials)
    return "\n".join([_table(table), *(_note(sentence(line)) for line in table.footnotes)])


def html_pictures(pictures: Pictures) -> str:
    """The page's pictures alone, each put into the text.

    Args:
        pictures: variant -> caption -> image file.
    """
    return "\n".join(_gallery(variant, of_variant) for variant, of_variant in pictures.items())


def _table(table: StudyTable) -> str:
    columns = flat_columns(table)
    rows = [[_cell(header, texts[i]) for header, texts in columns] for i in range(len(table.rows))]
    return _html_table([header for header, _ in columns], rows, [row.control for row in table.rows])


def _html_table(headers: Sequence[str], rows: Sequence[Sequence[str]], controls: Sequence[bool]) -> str:
    """A table whose controls are a body of their own.

    Args:
        rows: of cells, each a whole td.
        controls: whether the row is one, row by row.
    """
    head = "".join(f"<th>{html.escape(header)}</th>" for header in headers)
    bodies = []
    for wanted in (False, True):
        body = [f"<tr>{''.join(row)}</tr>" for row, control in zip(rows, controls, strict=True) if control == wanted]
        if body:
            bodies.append("<tbody>\n" + "\n".join(body) + "\n</tbody>")
    return f"<table>\n<thead><tr>{head}</tr></thead>\n" + "\n".join(bodies) + "\n</table>"


def _cell(header: str, text: str) -> str:
    word = text.split(",")[0]
    kind = "changed" if header == "what changed" else word if word in _MARKED and header != "variant" else ""
    return f'<td class="{kind}">{html.escape(text)}</td>' if kind else f"<td>{html.escape(text)}</td>"


def _iou_section(trials: pd.DataFrame) -> str:
    """The IoU of each class; in bold the best of each, the controls aside."""
    iou = iou_by_class(trials)
    best = iou[~_are_controls(iou, trials)].max()

    def cell(value: float, best: float) -> str:
        text = _or_nothing(value, _MIOU)
        return f"<td><b>{text}</b></td>" if value == best else f"<td>{text}</td>"

    cells = {str(name): [cell(value, best[str(name)]) for value in values] for name, values in iou.items()}
    note = (
        f"Mean over the n seeds. {NOTHING}: the class does not occur in the truth. Bold: the best of the "
        "class, the controls aside."
    )
    return _section("IoU by class", iou, cells, note, trials)


def _fid_section(trials: pd.DataFrame) -> str:
    """What the number of samples does to the Frechet distances."""
    fid = fid_by_samples(trials)
    cells = {"samples N": [f"<td>{samples:.0f}</td>" for samples in fid.get("samples", [])]}
    for metric in FRECHET_METRICS:
        for suffix, header in (("_half", "at N/2"), ("", "at N"), ("_extrapolated", "extrapolated")):
            if (name := f"{metric.name}{suffix}") in fid:
                said = _or_at_most_0 if suffix == "_extrapolated" else _or_nothing
                cells[f"{metric.name} {header}"] = [f"<td>{said(value, metric)}</td>" for value in fid[name]]
    note = (
        "Mean over the n seeds. Extrapolated: linearly in 1/N, from N/2 and N to infinitely many samples "
        "(Chong & Forsyth 2020); ≤ 0 where the line falls below zero, as no distance does: too few samples to tell."
    )
    return _section("FID and the number of samples", fid, cells, note, trials)


def _or_nothing(value: float, metric: Metric) -> str:
    return NOTHING if math.isnan(value) else number(value, metric)


def _or_at_most_0(value: float, metric: Metric) -> str:
    return "≤ 0" if value == 0 else _or_nothing(value, metric)


def _section(
    title: str, breakdown: pd.DataFrame, cells: Mapping[str, Sequence[str]], note: str, trials: pd.DataFrame
) -> str:
    """A breakdown of the trials as a table with a note; nothing where it is empty.

    Args:
        breakdown: a row a variant.
        cells: header -> a td a row of `breakdown`.
    """
    if breakdown.empty:
        return ""
    n = trials.loc[trials["status"] == FINISHED, "variant"].value_counts()
    about = [[f"<td>{html.escape(one_line(name))}</td>", f"<td>{n[name]}</td>"] for name in breakdown.index]
    rows = [[*texts, *(column[i] for column in cells.values())] for i, texts in enumerate(about)]
    table = _html_table(["variant", "n", *cells], rows, _are_controls(breakdown, trials).tolist())
    return f'<h2>{html.escape(title)}</h2>\n<div class="scroll">{table}</div>\n{_note(note)}'


def _are_controls(breakdown: pd.DataFrame, trials: pd.DataFrame) -> pd.Series[bool]:
    kinds = variants(trials).set_index("variant")["kind"]
    return kinds.reindex(breakdown.index) == CONTROL


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _verdict_sentences(table: StudyTable) -> list[str]:
    sentences = []
    for k, metric in enumerate(table.metrics):
        for row in table.rows:
            cell = row.cells[k]
            numbers = joined(joined(cell.difference, cell.interval, by=" "), cell.detail)
            if cell.verdict:
                sentences.append(f"{metric.name}, {row.variant}: {cell.verdict}" + (f" ({numbers})" if numbers else ""))
    return sentences


def _list(title: str, lines: Sequence[str]) -> str:
    items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{html.escape(title)}</h2>\n<ul>\n{items}\n</ul>" if lines else ""


def _pictures(table: StudyTable, pictures: Pictures) -> Iterator[str]:
    """A section a variant, in the table's order; pictures of what is not in the table come last."""
    known = [row.variant for row in table.rows if row.variant in pictures]
    for variant in dict.fromkeys([*known, *pictures]):
        yield _gallery(variant, pictures[variant])


def _gallery(title: str, pictures: Mapping[str, Path]) -> str:
    figures = "\n".join(_figure(caption, path) for caption, path in pictures.items())
    return f'<h2>{html.escape(title)}</h2>\n<div class="pictures">\n{figures}\n</div>' if pictures else ""


def _figure(caption: str, path: Path) -> str:
    # A picture that is gone must not cost the page its table.
    if not path.is_file():
        return _note(f"{caption}: there is no file {path.name}")
    caption = html.escape(caption)
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
