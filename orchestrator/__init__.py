"""From words on the command line to a study's table: plan, schedule, tracking, progress. From Python: `ablate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.from_python import ablate as ablate


def __getattr__(name: str) -> Any:
    if name == "ablate":  # only now: what imports a room of this package need not pay for all of them
        from orchestrator.from_python import ablate

        return ablate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
