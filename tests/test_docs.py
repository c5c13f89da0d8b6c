"""What the documents name is there: files by their paths, and links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# A path of this tree, in full or from a folder on: `study/session.py`, `clusters/secrets.sh`.
NAMED = re.compile(r"(?<![\w/.~$-])((?:[\w-]+/)*[\w-]+\.(?:py|sh|toml))(?![\w/])")
LINK = re.compile(r"\]\(([^)#\s]+)\)")
FOLDERS = ("orchestrator", "search_spaces", "trainables", "results", "tests", "benchmarks", "clusters", "docs")
FILES = {p.relative_to(ROOT).as_posix() for f in FOLDERS for p in (ROOT / f).rglob("*") if p.is_file()}
FILES |= {p.name for p in ROOT.iterdir() if p.is_file()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_a_document_names_are_there(document: Path) -> None:
    readers = ("NAME", "my_", "file.py", "notebook_")  # files that the reader writes
    named = {path for path in NAMED.findall(document.read_text()) if not path.startswith(readers)}
    assert not {path for path in named if not any(f"/{file}".endswith(f"/{path}") for file in FILES)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    links = {link for link in LINK.findall(document.read_text()) if "://" not in link}
    assert not {link for link in links if not (document.parent / link).exists()}


def test_the_files_are_looked_for_in_every_document() -> None:
    named = {path for document in DOCUMENTS for path in NAMED.findall(document.read_text())}
    assert {"tracking/writer.py", "benchmarks/same_figures.py", "clusters/secrets.sh"} <= named
