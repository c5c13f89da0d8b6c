"""Ports of loopback."""

import contextlib
import socket
from collections.abc import Iterator


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port of loopback on which somebody listens, who never says a word."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]
