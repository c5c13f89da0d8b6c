"""What goes wrong in one line: the errors of our own, and what another's says."""

from __future__ import annotations

from trainables.data import DataError
from trainables.own_parts import PartError


class UsageError(Exception):
    """Something that the user gave cannot be; nothing has been started or written. Exit code 2."""


class Unfit(Exception):
    """What was looked at cannot be used; the text is one line that says why."""


def one_line(error: Exception) -> str:
    """What an exception says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, Unfit | DataError | UsageError | PartError):
        return lines[0]
    # Ray's texts are long, and end with the exception of whatever failed there.
    return lines[-1] if type(error).__module__.startswith("ray.") else f"{type(error).__name__}: {lines[-1]}"
