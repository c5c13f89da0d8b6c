"""Files in the current folder that would be imported in place of what this program needs.

`python -m` looks for modules in the current folder first, and so do Ray's workers: a person's `results.py` or `ray.py`
would be taken for ours or for the library. Looked for before anything is imported, so this imports nothing itself.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("results", "search_spaces", "trainables")
LIBRARIES = (
    *("PIL", "alembic", "cleanfid", "fsspec", "matplotlib", "mlflow", "numpy", "optuna", "pandas", "psycopg"),
    *("pyarrow", "pydantic", "ray", "rich", "s3fs", "safetensors", "scipy", "sklearn", "sqlalchemy"),
    *("torch", "torchvision", "yaml"),
)


def refuse_shadows() -> None:
    """Passes if no file in the current folder hides a module that this program needs.

    Raises:
        SystemExit: one does; the line is printed, as nothing that would print it can be imported.
    """
    hidden = shadows(Path.cwd(), Path(__file__).parent.parent)
    if hidden:
        print(f"error: {hidden[0]} hides a module of this program; rename it, or use another folder", file=sys.stderr)
        sys.exit(2)


def shadows(here: Path, home: Path) -> list[Path]:
    """What in the folder `here` would be imported in place of a module that is needed.

    Args:
        home: the folder of our own packages.
    """
    if here.resolve() == home.resolve():
        return []
    needed = {*PACKAGES, *LIBRARIES, *sys.stdlib_module_names}
    found = ((name, PathFinder.find_spec(name, [str(here)])) for name in sorted(needed))
    # A folder without __init__.py is a package too, but never where another one has its name.
    return [Path(spec.origin) for _, spec in found if spec and spec.origin and spec.origin != "namespace"]
