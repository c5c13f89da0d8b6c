"""What a stage says while it works, and what it leaves to be written."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Where a stage is. Without metrics it only shows that the trial lives.

    Args:
        steps: of the stage; 0: not known yet.
        metrics: logged at `step`.
        history: earlier (step, metrics), told anew by a stage that goes on or is in the store already.
        note: what the person should know, for example that the trial waits.
    """

    step: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    note: str = ""


Write = Callable[[Path], None]  # writes a stage's output into a folder
Making = Generator[Progress, None, Write]  # yields progress, returns what writes the output


def counted(counts: Generator[int, None, T], before: int, total: int) -> Generator[Progress, None, T]:
    """Progress by the counts; returns what they return.

    Args:
        before: how many of the total are done already.
        total: 0 where it is not known.
    """
    while True:
        try:
            done = next(counts)
        except StopIteration as end:
            return cast(T, end.value)
        yield Progress(min(before + done, total), total)
