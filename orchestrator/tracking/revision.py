"""Which revision of this project's code runs, as git tells it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def revision() -> dict[str, str]:
    """The tags of a run that name the commit, and whether files differ from it; "unknown" without git."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            answer = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    status = git("status", "--porcelain")
    dirty = "unknown" if status is None else str(bool(status)).lower()
    return {"git_commit": git("rev-parse", "HEAD") or "unknown", "git_dirty": dirty}
