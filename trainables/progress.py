"""What a stage says while it works."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where a stage is. `metrics` are logged at `step`; without them the record only shows that the trial lives."""

    step: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
