"""The cells of a design: which variants run together, and what each cell changes. Imports no Ray."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from orchestrator.errors import UsageError
from orchestrator.planning.match import WIDTHS
from orchestrator.planning.names import BASELINE, is_cell
from orchestrator.planning.settings import Request, described
from search_spaces.designs import CROSSED, FEWEST, JOINT, MOST_CELLS, Cell, Design, cells
from trainables.config import Overrides


def design_of(request: Request, variants: Mapping[str, Overrides], usual: Sequence[str]) -> Design:
    """The request's design.

    Args:
        variants: all that there are; cells name them in this order, whatever the order of the words.
        usual: those that would run one at a time.

    Raises:
        UsageError: components or pairs that there are not, or too few or too many of them.
    """
    where = request.told("components", "--components")
    asked = request.components if request.components is not None else [n for n in usual if n != BASELINE]
    for name in asked:
        _check_known(name, variants, where)
    components = tuple(name for name in variants if name in asked)
    _check_count(request, len(components))
    crossed = {name: variants[name] for name in components}
    pairs = dict.fromkeys(
        JOINT.join(_pair(request, text, crossed if request.design in CROSSED else variants)) for text in request.pairs
    )
    return Design(request.design, components, tuple(pairs))


def deltas_of(
    request: Request, design: Design, variants: Mapping[str, Overrides], usual: Sequence[str]
) -> dict[str, Overrides]:
    """What runs, the baseline aside, with its changes: the cells of design and pairs, and what else is asked for.

    A cell that the study file writes out is as it stands there, if it changes what its components change: a file that
    a study leaves has all of them so.

    Args:
        variants: as for `design_of`; so with `usual`.

    Raises:
        UsageError: two variants of a cell contradict each other, or one that is written out changes anything else.
    """
    run = [(cell, "components") for cell in cells(design.name, design.components)]
    for one, other in (pair.split(JOINT) for pair in design.pairs):
        run += [(cell, "pairs") for cell in ((one,), (other,), (one, other))]
    run += [((name,), "components") for name in usual if name not in (BASELINE, *design.components)]
    return {JOINT.join(cell): _delta(request, cell, key, variants) for cell, key in run}


def without_use(request: Request, run: Collection[str]) -> list[str]:
    """What is told of the cells that the study file writes out and that do not run.

    Args:
        run: the names of what runs.

    Raises:
        UsageError: one that is a cell of no known variants.
    """
    known = {**request.space.variants[request.preset], **request.own}
    for name in filter(is_cell, request.own):
        for part in name.split(JOINT):
            if part not in known:
                raise UsageError(f"{request.file}: variants: {name!r}: unknown variant {part!r} in a cell's name")
    unused = [name for name in request.own if is_cell(name) and name not in run]
    return [f"variant {name}: no cell of the design {request.design}, and none of pairs" for name in unused]


def _check_known(name: str, variants: Mapping[str, Overrides], where: str) -> None:
    known = [n for n in variants if n != BASELINE and not is_cell(n)]
    if name not in known:
        raise UsageError(f"{where}: unknown variant {name!r}; allowed: {', '.join(known)}")


def _check_count(request: Request, count: int) -> None:
    design, where = request.design, request.told("components", "--components")
    if count < FEWEST[design]:
        raise UsageError(f"{where}: the design {design} needs at least {FEWEST[design]}, but got {count}")
    # Counted by the number alone: the cells themselves may be beyond any memory.
    power = {"factorial": count, "fraction": count - 1}.get(design, 0)
    if 2**power > MOST_CELLS:
        raise UsageError(f"{where}: must make at most {MOST_CELLS} cells, but {design} of {count} makes {2**power}")


def _pair(request: Request, text: str, variants: Mapping[str, Overrides]) -> Cell:
    where, names = request.told("pairs", "--pairs"), text.split(JOINT)
    if len(set(names)) != 2 or len(names) != 2:
        raise UsageError(f"{where}: must be two variants and a {JOINT}, such as adagn{JOINT}cosine, but got {text!r}")
    for name in names:
        _check_known(name, variants, where)
    return tuple(name for name in variants if name in names)


def _delta(request: Request, cell: Cell, key: str, variants: Mapping[str, Overrides]) -> Overrides:
    given = variants.get(JOINT.join(cell))
    if given is None:
        return _union(cell, variants, request.told(key, f"--{key}"))
    if len(cell) > 1:
        matched = WIDTHS if request.match else set()  # they were brought to the baseline's size one by one
        parts = {n: {s: v for s, v in variants[n].items() if s not in matched} for n in cell}
        union = _union(cell, parts, request.told(key, f"--{key}"))
        own = {s: v for s, v in given.items() if s not in matched}
        if {s: _plain(v) for s, v in own.items()} != {s: _plain(v) for s, v in union.items()}:
            raise UsageError(
                f"{request.file}: variants: {JOINT.join(cell)!r}: must change what its components change, "
                f"{described(union)}, but got {described(own)}"
            )
    return given


def _union(cell: Cell, variants: Mapping[str, Overrides], where: str) -> Overrides:
    whole, by = dict[str, object](), dict[str, str]()
    for name in cell:
        for setting, value in variants[name].items():
            if setting in whole and _plain(whole[setting]) != _plain(value):
                one, other = described({setting: whole[setting]}), described({setting: value})
                raise UsageError(f"{where}: {by[setting]} and {name} cannot be on together: {one}, {other}")
            whole[setting], by[setting] = value, by.get(setting, name)
    return whole


def _plain(value: object) -> object:
    """A list and a tuple are the same setting."""
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
