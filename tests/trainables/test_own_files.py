"""Which files of a person's own a part is made of, and which edits of them count."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from trainables.source import file_of, own_files, reached, source_hash

FILES = {
    "parts/block.py": """
        import math
        import torch
        from trainables.sections import UNet
        from beside import FACTOR
        from tools import scaled
        from package import passed_on
        from package.stars import *
        import package.deep.inner as inner

        OTHER: int = 1

        class Block:
            \"\"\"A block.\"\"\"

            size: int

            def forward(self, x: float) -> float:
                from late import finish
                return finish(scaled(x) * FACTOR + passed_on(x) + starred(x) + inner.value)  # a comment

        def unrelated():
            import seldom
            return seldom, OTHER
    """,
    "parts/beside.py": "FACTOR, UNUSED = 2, 3",
    "tools.py": "import numpy\ndef scaled(x):\n    return x * numpy.pi\n\ndef unused():\n    return 1",
    "package/__init__.py": "from .hidden import passed_on",
    "package/hidden.py": "from . import siblings\ndef passed_on(x):\n    return siblings.two(x)",
    "package/siblings.py": "def two(x):\n    return 2",
    "package/stars.py": "def starred(x):\n    return x",
    "package/deep/__init__.py": "",
    "package/deep/inner.py": "value = 1",
    "late.py": "def finish(x):\n    return x",
    "seldom.py": "",
    "nobodys.py": "x = 1",
}
PART = "parts/block.py:Block"


@pytest.fixture
def own(own_folder: Path) -> Path:
    for name, text in FILES.items():
        write(own_folder, name, text)
    return own_folder


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    lines = text.splitlines()
    (folder / name).write_text("\n".join(line[8:] if line.startswith("        ") else line for line in lines))


def made_by(part: str = PART) -> str:
    return source_hash(reached([part], frozenset()))


@pytest.mark.usefixtures("own")
def test_own_files_are_all_that_a_part_imports_and_no_others() -> None:
    # `beside.py` is found from the folder that modules are looked for in.
    expected = {"beside.py" if name == "parts/beside.py" else name for name in FILES} - {"nobodys.py"}
    found = own_files([PART])
    assert set(found) == expected
    assert all(found[name] == (Path.cwd() / name).read_text() for name in found if name != "beside.py")
    assert own_files([]) == own_files(["torch.nn:Identity", "diffusers:UNet2DModel"]) == {}


@pytest.mark.usefixtures("own")
def test_a_module_brings_the_packages_that_it_is_in() -> None:
    deep = {"package/__init__.py", "package/hidden.py", "package/siblings.py", "package/deep/__init__.py"}
    assert set(own_files(["package.deep.inner:value"])) == deep | {"package/deep/inner.py"}
    assert own_files([PART, "package.deep.inner:value"]) == own_files([PART])


@pytest.mark.usefixtures("own")
def test_what_was_sent_is_all_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables import own_parts, own_places

    files, here = own_files([PART]), reached([PART], frozenset())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(own_places, "_beside", [])
    own_places.take(files)
    assert own_parts.load(PART)().forward(1.0) > 0
    assert reached([PART], frozenset()) == here
    assert own_files([PART]) == files


@pytest.mark.usefixtures("own")
def test_what_a_part_reaches_is_told_by_its_file() -> None:
    found = reached([PART], frozenset())
    assert {name for name in found if not name.startswith("trainables")} == {
        PART,
        "beside.FACTOR",
        "tools.scaled",
        "package.hidden.passed_on",
        "package.siblings.two",
        "package.stars.starred",
        "package.deep.inner.value",
        "late.finish",
    }
    files = ["parts/block.py", "tools.py", "package/hidden.py", "package/deep/inner.py"]
    names = [PART, "tools.scaled", "package.hidden.passed_on", "package.deep.inner.value"]
    assert [file_of(name) for name in names] == files


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("parts/block.py", "# a comment", "# another"),
        ("parts/block.py", "A block.", "The block."),
        ("parts/block.py", "x: float) -> float", "x: int)"),
        ("parts/block.py", "size: int", "size: str"),
        ("parts/block.py", "return seldom, OTHER", "return 7"),
        ("parts/block.py", "OTHER: int = 1", "OTHER = 2"),
        ("parts/block.py", "import math", "import sys"),
        ("parts/beside.py", "2, 3", "2, 4"),
        ("tools.py", "return 1", "return 2"),
        ("seldom.py", "", "x = 1"),
        ("nobodys.py", "x = 1", "x = 2"),
        ("package/deep/__init__.py", "", '"""What is deep."""'),
    ],
)
def test_what_computes_nothing_in_a_part_changes_nothing(own: Path, file: str, before: str, after: str) -> None:
    old = made_by()
    edit(own / file, before, after)
    assert made_by() == old


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("parts/block.py", "scaled(x) *", "scaled(x) +"),
        ("parts/block.py", "size: int", "width: int"),
        ("parts/block.py", "OTHER: int = 1", "torch.backends.mkldnn.enabled = False"),  # it runs with the module
        ("parts/beside.py", "2, 3", "4, 3"),
        ("tools.py", "numpy.pi", "numpy.e"),
        ("package/__init__.py", "from .hidden import passed_on", "from .siblings import two as passed_on"),
        ("package/hidden.py", "siblings.two(x)", "-siblings.two(x)"),
        ("package/siblings.py", "return 2", "return 3"),
        ("package/stars.py", "return x", "return -x"),
        ("package/deep/inner.py", "value = 1", "value = 2"),
        ("late.py", "return x", "return -x"),
    ],
)
def test_what_a_part_computes_with_changes_the_hash(own: Path, file: str, before: str, after: str) -> None:
    old = made_by()
    edit(own / file, before, after)
    assert made_by() != old


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1) if before else after)


TWICE = """
import sys
SLOPE = 0.1
SLOPE = SLOPE * 2
if sys.platform == "linux":
    BIAS = 1
else:
    BIAS = 2
try:
    from tools import scaled as faster
except ImportError:
    def faster(x): return x * 5
first, *others = 6, 7, 8
TABLE = {"a": max}
TABLE = {**TABLE, "b": min}
def part(x):
    return SLOPE * faster(x) + BIAS, TABLE, others
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.1", "0.2"), ("* 2", "* 3"), ("linux", "darwin"), ("BIAS = 1", "BIAS = 3"), ("BIAS = 2", "BIAS = 3"),
     ("max", "sum"), ("min", "sum"), ("x * 5", "x * 4"), ("7, 8", "7, 9")],
)  # fmt: skip
def test_of_what_is_defined_twice_both_count_and_so_does_what_chooses(own: Path, before: str, after: str) -> None:
    write(own, "twice.py", TWICE)
    old = made_by("twice.py:part")
    edit(own / "twice.py", before, after)
    assert made_by("twice.py:part") != old


def test_a_part_that_a_module_only_passes_on_is_followed_to_where_it_is_written(own: Path) -> None:
    for reference in ("package:passed_on", "again.py:passed_on"):
        write(own, "again.py", "from package import passed_on")
        write(own, "package/siblings.py", "def two(x):\n    return 2")
        old = made_by(reference)
        assert "package.siblings.two" in reached([reference], frozenset())
        edit(own / "package/siblings.py", "return 2", "return 3")
        assert made_by(reference) != old


@pytest.mark.usefixtures("own")
def test_an_installed_part_is_its_version() -> None:
    version = f"torch {importlib.metadata.version('torch')}"
    assert reached(["torch.nn:Identity"], frozenset()) == {"torch.nn:Identity": version}
    with pytest.raises(LookupError, match="there is no no_module:B"):
        reached(["no_module:B"], frozenset())


def test_a_table_of_a_persons_own_is_chosen_from_by_the_settings_texts(own: Path) -> None:
    write(own, "table.py", "TABLE = {'a': max, 'b': min}\ndef part(x):\n    return TABLE[x]")
    assert set(reached(["table.py:part"], frozenset({"a"}))) == {"table.py:part", "table.py:TABLE[a]"}
