"""Whether a network is of the baseline's size: else that explains a difference too. Imports no pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping

SIZES = {"parameters": "parameters", "forward_flops": "operations a forward"}  # metric -> in words
LIMIT = 0.10  # of the baseline's; what differs by more is marked
MARK = "†"


def unlike(own: Mapping[str, float | None], baseline: Mapping[str, float | None]) -> str:
    """'39 % fewer parameters than the baseline'; "" where nothing is known to differ by more than 10 %.

    Args:
        own: the `SIZES` that are known of a network; None or NaN for one that is not.
        baseline: the same of the baseline's.
    """
    shares = {words: share(own.get(name), baseline.get(name)) for name, words in SIZES.items()}
    told = [f"{more_or_fewer(by)} {words}" for words, by in shares.items() if round(abs(by), 9) > LIMIT]
    return f"{', '.join(told)} than the baseline" if told else ""


def share(own: float | None, baseline: float | None) -> float:
    """What there is more than in the baseline, as a share of it: -0.39; NaN where one of them is not known."""
    return own / baseline - 1 if own is not None and baseline else math.nan


def more_or_fewer(by: float, digits: int = 0) -> str:
    """'39 % fewer' for -0.39."""
    return f"{100 * abs(by):.{digits}f} % {'more' if by > 0 else 'fewer'}"


def marked(text: str, size: str) -> str:
    """The text with the mark that leads to the line below the table, where `unlike` says something."""
    return f"{text} {MARK}" if size else text
