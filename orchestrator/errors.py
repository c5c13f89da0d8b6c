"""How a run that cannot start ends: one line that names what is wrong and what is allowed, exit code 2."""


class UsageError(Exception):
    """Something that the user gave cannot be; nothing has been started or written."""
