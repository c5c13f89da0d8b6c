"""A folder with a block of one's own, a study that compares it, and what an editor and pytest want beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.planning.names import NAME, NAME_RULE
from orchestrator.planning.study_file import schema

TEMPLATE = Path(__file__).parent / "template"
NAMED = "my-study"  # in the template's texts; the folder's name takes its place
SCHEMA = "study.schema.json"


def make(name: str, here: Path) -> list[Path]:
    """The files of the new folder `name` in the folder `here`.

    Raises:
        UsageError: a name that cannot be one, a folder that is there, or one that cannot be written.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"NAME: must be {NAME_RULE}, but got {name!r}")
    folder = here / name
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(TEMPLATE.iterdir()) if path.is_file()}
    texts[SCHEMA] = json.dumps(schema(), indent=1) + "\n"
    try:
        folder.mkdir()
    except FileExistsError:
        raise UsageError(f"NAME: {folder} is there already; choose another name") from None
    except OSError as error:
        raise UsageError(f"NAME: cannot make {folder} ({error.strerror})") from None
    try:
        for file, text in texts.items():
            (folder / file).write_text(text.replace(NAMED, name), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # it was made here, a moment ago
        raise UsageError(f"NAME: cannot write to {folder} ({error.strerror})") from None
    return [folder / file for file in texts]
