"""What a stage says while it works."""

from __future__ import annotations

from dataclasses import dataclass, field


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
