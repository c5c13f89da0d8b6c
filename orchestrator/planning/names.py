"""What studies, variants and the cells of a heat map may be called."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.errors import UsageError
from orchestrator.planning.settings import Request
from search_spaces.ablations import CONTROLS
from search_spaces.designs import JOINT, ONE_AT_A_TIME
from trainables.canonical import identified
from trainables.config import Config, apply
from trainables.data import About
from trainables.store import hashed

BASELINE = "baseline"
PROBE = re.compile(r"block\d+-t\d+")  # a cell of the heat map
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
NAME_RULE = "at most 80 letters, digits, '_', '-' and '.', a letter or digit first"


def is_cell(name: str) -> bool:
    """Whether the name is of a cell, several variants together: no variant of a person's own may be called so."""
    return JOINT in name


def usual_name(request: Request, baseline: Config, facts: About) -> str:
    """What a study is called that was given no name: after its preset, and all that makes it another study.

    What differs by --set is another study, and so is a suite, a match or a design: their figures must not meet in one
    table.

    Args:
        baseline: the request's.
        facts: of the baseline's dataset.
    """
    identity = hashed([identified(apply(baseline, {"seed": 0})), facts.fingerprint])[:6]
    prefix = request.preset if request.space.name == "ablations" else f"{request.space.name}-{request.preset}"
    between = [request.suite or "", f"match-{request.match}" if request.match else ""]
    between += [request.design] if request.design != ONE_AT_A_TIME else []
    return "-".join(filter(None, [prefix, *between, identity]))


def check_study_name(name: str) -> None:
    """Passes if a study may be called so.

    Raises:
        UsageError: it may not.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"--name: must be {NAME_RULE}, but got {name!r}")


def check_variant_name(name: str, taken: Iterable[str]) -> None:
    """Passes if a new variant may be called so. Names that differ in capitals alone are one file on many machines.

    Args:
        taken: the names of the variants that there are.

    Raises:
        UsageError: the name is taken, or cannot be a file's.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"variant {name!r}: the name must be {NAME_RULE}")
    folded = {known.casefold() for known in (*taken, *CONTROLS)}
    if name.casefold() in folded or PROBE.fullmatch(name.casefold()):
        raise UsageError(f"variant {name!r}: the name is taken; choose another")
