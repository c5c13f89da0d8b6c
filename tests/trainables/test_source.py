"""What code is reached, and what of it counts: on a small project that the tests write, and on our own."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainables import source
from trainables.source import PLUMBING, file_of, reached, source_hash

FILES = {
    "main.py": """
        import math
        from trainables import tools as t
        from trainables.parts import PARTS, shared
        from trainables.store import keep

        LIMIT, LABEL = 3, "a label"

        def make(name):
            \"\"\"What main makes.\"\"\"
            from trainables.late import finish
            keep(name)
            return finish(PARTS[name](t.scaled(LIMIT)))

        def other():
            return LABEL
    """,
    "tools.py": """
        from __future__ import annotations

        FACTOR: int = 2

        def scaled(x: float) -> float:
            if x < 0:
                raise ValueError(f"must be at least 0, but got {x}")
            return x * FACTOR  # a comment

        def unused():
            return 1
    """,
    "parts.py": """
        class Round:
            size: int

            def __init__(self, x):
                self.x = x

        class Square(Round):
            pass

        PARTS: dict[str, type] = {"round": Round, "square": Square}

        def shared():
            return 1
    """,
    "late.py": """
        def finish(x):
            return x
    """,
    "store.py": """
        def keep(x):
            return x
    """,
    "kept/__init__.py": """
        def load():
            return open("weights.bin")
    """,
    "kept/weights.bin": "1234",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes a file of the project, and forgets what was read of it."""

    def write(name: str, text: str | None = None) -> Path:
        path = tmp_path / "trainables" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (FILES[name] if text is None else text).splitlines()
        path.write_text("\n".join(line[8:] if line.startswith("        ") else line for line in lines))
        forget()
        return path

    def forget() -> None:
        source._file.cache_clear()
        source._read.cache_clear()

    monkeypatch.setattr(source, "ROOT", tmp_path)
    for name in FILES:
        write(name)
    yield write
    monkeypatch.undo()
    forget()


def names(root: str = "main.make", *words: str) -> set[str]:
    return {name.removeprefix("trainables.") for name in reached([f"trainables.{root}"], frozenset(words))}


def made_by(root: str = "main.make", *words: str) -> str:
    return source_hash(reached([f"trainables.{root}"], frozenset(words)))


def test_what_is_reached_follows_from_the_names_in_the_code(project: Callable[..., Path]) -> None:
    assert names("main.make", "round") == {
        *(
            "main.make",
            "main.LIMIT",
            "tools.scaled",
            "tools.FACTOR",
            "late.finish",
            "parts.PARTS[round]",
            "parts.Round",
        ),
    }
    assert names("main.make", "square") - names("main.make", "round") == {"parts.PARTS[square]", "parts.Square"}
    assert names("main.make") >= names("main.make", "round") | names("main.make", "square")
    assert names("main.other") == {"main.other", "main.LABEL"}


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("main.py", '"""What main makes."""', '"""Another word."""'),
        ("main.py", "import math", "import sys"),
        ("main.py", "from trainables import tools as t", "import math\n        from trainables import tools as t"),
        ("main.py", '"a label"', '"another label"'),  # which `other` reads
        ("tools.py", "  # a comment", "  # another"),
        ("tools.py", "x: float", "x: int"),
        ("tools.py", ") -> float", ") -> int"),
        ("tools.py", "FACTOR: int = 2", "FACTOR = 2"),
        ("tools.py", "must be at least 0", "must not be below 0"),
        ("tools.py", "return 1", "return 2"),  # in `unused`
        ("parts.py", "class Square(Round):", "class Square(list):"),  # of the table, but not named by a setting
        ("parts.py", "size: int", "size: float"),
        ("store.py", "return x", "return None"),
    ],
)
def test_what_computes_nothing_here_changes_nothing(
    project: Callable[..., Path], file: str, before: str, after: str
) -> None:
    old = made_by("main.make", "round")
    assert before in FILES[file].replace("\\", "")
    project(file, FILES[file].replace("\\", "").replace(before, after))
    assert made_by("main.make", "round") == old


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("main.py", "LIMIT, LABEL = 3", "LIMIT, LABEL = 4"),
        ("main.py", "t.scaled(LIMIT)", "t.scaled(-LIMIT)"),
        ("tools.py", "FACTOR: int = 2", "FACTOR: int = 3"),
        ("tools.py", "x < 0", "x < 1"),
        ("parts.py", "self.x = x", "self.x = -x"),
        ("parts.py", "size: int", "width: int"),  # a field's name
        ("parts.py", '{"round": Round', '{"round": Square'),
        ("late.py", "return x", "return x + 1"),
        (
            "tools.py",
            "def unused",
            "import os\n        os.environ['X'] = '1'\n\n        def unused",
        ),  # runs with the module
    ],
)
def test_what_computes_changes_the_hash(project: Callable[..., Path], file: str, before: str, after: str) -> None:
    old = made_by("main.make", "round")
    assert before in FILES[file].replace("\\", "")
    project(file, FILES[file].replace("\\", "").replace(before, after))
    assert made_by("main.make", "round") != old


def test_the_data_that_a_package_brings_are_its_code(project: Callable[..., Path]) -> None:
    old = made_by("kept.load")
    project("kept/weights.bin", "1235")
    assert made_by("kept.load") != old


def test_a_name_that_is_not_there_is_an_error(project: Callable[..., Path]) -> None:
    with pytest.raises(LookupError, match=r"there is no elsewhere\.make"):
        reached(["elsewhere.make"], frozenset())


def test_a_definition_is_told_by_its_file() -> None:
    assert file_of("trainables.unet.blocks.Attention") == "unet/blocks.py"
    assert file_of("trainables.diffusion.samplers.ETA[ddim]") == "diffusion/samplers.py"
    assert file_of("trainables.data.About") == "data/__init__.py"


def test_the_plumbing_is_there_and_computes_no_figure(root: Path) -> None:
    """Nothing of it does arithmetic on tensors or images: torch stands in it for checkpoints and for counting alone.

    Of `torch.random` it has the guard that leaves the global generator as it was.
    """
    allowed = {"load", "save", "Tensor", "device", "no_grad", "empty", "zeros", "long", "random"}
    for module in PLUMBING:
        tree = ast.parse(root.joinpath(*module.split(".")).with_suffix(".py").read_text())
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        used = {(node.value.id, node.attr) for node in attributes if isinstance(node.value, ast.Name)}
        assert {attribute for name, attribute in used if name == "torch"} <= allowed, module
        assert not {name for name, _ in used} & {"F", "nn", "random"}, module
        inner = [n for n in attributes if isinstance(n.value, ast.Attribute) and n.value.attr == "random"]
        assert {n.attr for n in inner} <= {"fork_rng"}, module
