"""The examples of docs/your_own_change.md: its files, and the words that name their parts."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.planning.settings import parse_settings, parse_variant

PAGE = (Path(__file__).parent.parent.parent / "docs" / "your_own_change.md").read_text()
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.S))
WORDS = [line.strip() for line in PAGE.splitlines() if re.match(r"    (--set |[a-z_.]+=)", line)]


def settings(words: str) -> dict[str, object]:
    if words.startswith("--set"):
        return parse_settings(word.strip().strip('"') for word in words.split("--set") if word.strip())
    return parse_variant(f"mine: {words}")[1]
