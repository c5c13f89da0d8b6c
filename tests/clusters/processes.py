"""The processes that a test has started, found by their variables: also those that it cannot know of."""

import contextlib
from pathlib import Path


def started_with(variable: str) -> dict[int, str]:
    """The command lines of the living processes that have this text among their variables, by process id."""
    found = {}
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            if variable.encode() in environ.read_bytes():
                line = (environ.parent / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(environ.parent.name)] = line.decode(errors="replace")
    return found


def listens(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for the signal."""
    lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught & (1 << (number - 1)))
