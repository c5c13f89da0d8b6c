"""What studies, variants and the cells of a heat map may be called."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.errors import UsageError
from search_spaces.ablations import CONTROLS
from search_spaces.designs import JOINT

BASELINE = "baseline"
PROBE = re.compile(r"block\d+-t\d+")  # a cell of the heat map
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
NAME_RULE = "at most 80 letters, digits, '_', '-' and '.', a letter or digit first"


def is_cell(name: str) -> bool:
    """Whether the name is of a cell, several variants together: no variant of a person's own may be called so."""
    return JOINT in name


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
