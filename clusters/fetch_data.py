"""Copies data and downloads that all nodes share to this node's own disk, as far as they are not there.

    python clusters/fetch_data.py SHARED FOLDER

SHARED is a folder or a bucket that fsspec opens; its cache/ and data/, where it has them, go to FOLDER/cache and
FOLDER/data. A file that is there in the same size stays as it is.
"""

import sys
from pathlib import Path

import fsspec


def main(shared: str, folder: str) -> None:
    """Copies both, and says how many files came."""
    fs, root = fsspec.url_to_fs(shared)
    fs.ls(root if fs.protocol[0] == "file" else root.partition("/")[0])  # raises where there is no such bucket
    for part in ("cache", "data"):
        source, target = f"{root.rstrip('/')}/{part}", Path(folder, part)
        files = fs.find(source, detail=True) if fs.isdir(source) else {}
        targets = {path: target / path[len(source) + 1 :] for path in files if not path.endswith("/")}
        missing = [path for path, to in targets.items() if not to.is_file() or to.stat().st_size != files[path]["size"]]
        for path in missing:
            targets[path].parent.mkdir(parents=True, exist_ok=True)
        if missing:
            fs.get(missing, [str(targets[path]) for path in missing])
        print(f"{source}: {len(targets)} files, {len(missing)} copied")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Exception as error:  # each filesystem has errors of its own
        sys.exit(f"fetch_data.py: {sys.argv[1]}: {type(error).__name__}: {error}")
