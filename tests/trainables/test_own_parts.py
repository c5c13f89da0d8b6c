"""Parts of one's own: which texts name one, how one is had, and what a person reads where it cannot be."""

from __future__ import annotations

import fcntl
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from trainables import own_parts, own_places
from trainables.own_modules import told
from trainables.own_parts import Args, Named, PartError, check_there, chosen, is_reference, load, made, version_of
from trainables.own_places import file_at, folder_of, is_own_file, take
from trainables.source import own_files

ROOT = Path(__file__).parents[2]
NAMED = Named(("resnet", "convnext"))


@pytest.mark.parametrize(
    "text", ["a.py:B", "parts/my-blocks.py:Leaky", "v1.2/a.py:B", "a:B", "diffusers.models:UNet2DModel", "_a._b:_C"]
)
def test_a_file_or_a_module_with_a_name_in_it_is_a_reference(text: str) -> None:
    assert is_reference(text)
    assert NAMED.check(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "../x.py:B", "a/../x.py:B", "/abs.py:B", "./a.py:B", "a.py", "a.py:", ":B", "a:b:c", "a b:C", "a.py:B.c",
        "a.py:2B", "a/b:C", "a..b:C", "2a:B", "~/a.py:B", "a\\b.py:C", " a.py:B", "a.py:B\n", "", "resnet2",
    ],
)  # fmt: skip
def test_other_texts_are_none_and_are_refused_with_what_is_allowed(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(ValueError, match="must be") as caught:
        NAMED.check(text)
    forms = "file.py:Name in the current folder or below it, no space in its path, or package.module:Name"
    assert str(caught.value) == f"must be resnet, convnext, or a part of your own ({forms}), but got {text!r}"


def test_our_names_are_taken_and_are_no_references() -> None:
    for name in NAMED.names:
        assert NAMED.check(name) == name and not is_reference(name)
    assert not is_reference(3) and not is_reference(None)


class _Settings(BaseModel, frozen=True):
    args: Args = Args()


def test_arguments_are_as_json_gives_them_back_and_can_be_compared_and_hashed() -> None:
    given = {"slope": 0.2, "sizes": (1, (2, 3)), "name": "x", "flag": True, "nothing": None, "inner": {"a": 1}}
    args = _Settings(args=given).args
    assert isinstance(args, Args)
    assert args == json.loads(json.dumps(given)) and args["sizes"] == [1, [2, 3]]
    assert hash(args) == hash(Args(dict(reversed(args.items()))))
    assert hash(_Settings(args=given)) == hash(_Settings(args=args))
    assert hash(args) != hash(Args(args | {"slope": 0.3}))
    assert _Settings.model_validate_json(_Settings(args=given).model_dump_json()) == _Settings(args=given)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x", len], ids=str)
def test_arguments_that_no_file_could_hold_are_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="must be plain values, such as numbers, texts and lists"):
        _Settings(args={"x": [value]})


@pytest.mark.parametrize("name", ["2x", "a b", "a.b", ""])
def test_arguments_have_names_as_python_has_them(name: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        _Settings(args={name: 1})


MISSING = [
    ("a.py:B", {}, "a.py:B: there is no file a.py in {here}"),
    ("a.py:B", {"a.py": "def f(:"}, "a.py:B: a.py is no Python (invalid syntax, line 1)"),
    ("a.py:B", {"a.py": b"B = '\xff\xfe'"}, "a.py:B: a.py cannot be read as text ("),
    (
        "no_module.x:B",
        {},
        "no_module.x:B: there is no module no_module, neither in {here} nor installed",
    ),
    ("my_blok.py:B", {"my_block.py": ""},
     "my_blok.py:B: there is no file my_blok.py in {here}; did you mean my_block.py?"),
    ("x/my_blok.py:B", {"x/my_block.py": "", "x/other.py": ""},
     "x/my_blok.py:B: there is no file x/my_blok.py in {here}; did you mean x/my_block.py?"),
    ("my_blok:B", {"my_block/__init__.py": ""},
     "my_blok:B: there is no module my_blok, neither in {here} nor installed; did you mean my_block?"),
    ("tourch.nn:B", {}, "tourch.nn:B: there is no module tourch, neither in {here} nor installed; did you mean torch?"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "files", "says"), MISSING, ids=[f"{r} {list(f)}" for r, f, _ in MISSING])
def test_what_is_not_there_is_told_before_anything_is_imported(
    own_folder: Path, reference: str, files: dict[str, str | bytes], says: str
) -> None:
    write(own_folder, files)
    with pytest.raises(PartError) as caught:
        check_there(reference)
    assert str(caught.value).startswith(says.format(here=own_folder))
    assert "\n" not in str(caught.value)


def test_what_is_there_is_not_imported_to_see_it(own_folder: Path) -> None:
    write(own_folder, {"a.py": "raise SystemExit", "package/__init__.py": "raise SystemExit"})
    for reference in ("a.py:B", "a:B", "package.inner:B", "torch.nn:Identity"):
        check_there(reference)


FAILING = [
    ("a.py:B", {}, "a.py: there is no such file in {here}"),
    ("a.py:B", {"a.py": "def f(:"}, "a.py: is no Python (invalid syntax, line 1)"),
    ("a.py:B", {"a.py": "x = 1\n\nimport no_module"}, "a.py: cannot be imported: ModuleNotFoundError: "
     "No module named 'no_module' (a.py, line 3)"),
    ("a.py:B", {"a.py": "import b", "b.py": "\n1 / 0"},
     "a.py: cannot be imported: ZeroDivisionError: division by zero (b.py, line 2)"),
    ("a.py:B", {"a.py": "raise ValueError('one\\n\\ntwo')"},
     "a.py: cannot be imported: ValueError: two (a.py, line 1)"),
    ("a.py:B", {"a.py": "import math\nfrom math import sin\nclass D: ...\ndef c(): ...\nE = 1"},
     "a.py:B: there is no B in it; it has D, c"),
    ("a.py:B", {"a.py": "x = 1"}, "a.py:B: there is no B in it; it has nothing that can be called"),
    ("a.py:ReluBlok", {"a.py": "class ReluBlock: ..."},
     "a.py:ReluBlok: there is no ReluBlok in it; did you mean ReluBlock?"),
    ("package:Blok", {"package/__init__.py": "from package.b import Block", "package/b.py": "class Block: ..."},
     "package:Blok: there is no Blok in it; did you mean Block?"),
    ("a.py:B", {"a.py": "B = 1"}, "a.py:B: must be a class or a function, but is int"),
    ("no_module:B", {}, "no_module: cannot be imported: ModuleNotFoundError: No module named 'no_module'"),
    ("package.b:B", {"package/__init__.py": "", "package/b.py": "import package.c"},
     "package.b: cannot be imported: ModuleNotFoundError: No module named 'package.c' (b.py, line 1)"),
    ("package.b:B", {"package/__init__.py": "", "package/b.py": "def b(): ..."},
     "package.b:B: there is no B in it; it has b"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "files", "says"), FAILING, ids=[says[:70] for _, _, says in FAILING])
def test_a_part_that_cannot_be_had_is_told_in_one_line(
    own_folder: Path, reference: str, files: dict[str, str | bytes], says: str
) -> None:
    write(own_folder, files)
    for _ in range(2):  # nothing half imported is left
        with pytest.raises(PartError) as caught:
            load(reference)
        assert str(caught.value) == says.format(here=own_folder)


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    importlib.invalidate_caches()


def test_a_part_is_had_from_a_file_a_module_or_an_installed_package(own_folder: Path) -> None:
    write(own_folder, {"a.py": "def b(): return 1", "package/__init__.py": "", "package/m.py": "def b(): return 2"})
    assert (load("a.py:b")(), load("package/m.py:b")(), load("package.m:b")()) == (1, 2, 2)
    assert load("a.py:b") is load("a.py:b")
    assert load("json:dumps") is json.dumps
    table = {"ours": max}
    assert chosen(table, "ours") is max and chosen(table, "a.py:b")() == 1


def test_files_beside_a_part_can_be_imported_and_hide_nothing(own_folder: Path) -> None:
    files = {"parts/a.py": "import json\nfrom tools_beside import two\ndef b(): return two, json.dumps(two)"}
    write(own_folder, files | {"parts/tools_beside.py": "two = 2", "parts/json.py": "raise SystemExit"})
    del sys.modules["json"]
    assert load("parts/a.py:b")() == (2, "2")
    assert folder_of("tools_beside") == own_folder / "parts"


def test_two_modules_of_one_name_beside_two_parts_are_refused(own_folder: Path) -> None:
    part = "from beside import b"
    write(own_folder, {"x/a.py": part, "y/a.py": part, "x/beside.py": "def b(): ...", "y/beside.py": "def b(): ..."})
    assert set(own_files(["x/a.py:b"])) == {"x/a.py", "beside.py"}
    with pytest.raises(PartError, match=r"there is a module beside in .*/x and one in .*/y: give one another name$"):
        own_files(["y/a.py:b"])


def test_what_was_sent_is_not_taken_for_a_second_one(own_folder: Path) -> None:
    files = {"x/a.py": "from beside import b", "beside.py": "def b(): return 'sent'"}
    write(own_folder, {"x/beside.py": "def b(): return 'here'", "x/a.py": files["x/a.py"]})
    file_at("x/a.py")
    take(files)
    assert folder_of("beside") == own_places._sent[0]


def test_two_files_of_one_name_are_two_modules(own_folder: Path) -> None:
    write(own_folder, {"x/a.py": "def b(): return 1", "y/a.py": "def b(): return 1"})
    one, other = load("x/a.py:b"), load("y/a.py:b")
    assert one is not other and one.__module__ != other.__module__
    assert (Path(one.__code__.co_filename), Path(other.__code__.co_filename)) == (
        own_folder / "x/a.py",
        own_folder / "y/a.py",
    )


def test_an_edited_file_is_loaded_anew(own_folder: Path) -> None:
    for number in (1, 2, 1):
        write(own_folder, {"a.py": f"def b(): return {number}"})
        assert load("a.py:b")() == number


def test_what_a_part_raises_is_told_with_its_place_in_the_persons_file(own_folder: Path) -> None:
    write(own_folder, {"a.py": "import torch\n\ndef b():\n    return torch.zeros(2) @ torch.zeros(3)"})
    with pytest.raises(
        PartError, match=r"^unet\.block=a\.py:b: cannot be made or run: RuntimeError: .*\(a\.py, line 4\)$"
    ):
        made("unet.block=a.py:b", load("a.py:b"))
    assert told(ValueError()) == "ValueError"
    own = PartError("a.py:b: as it is")
    with pytest.raises(PartError) as caught:
        made("x", lambda: (_ for _ in ()).throw(own))
    assert caught.value is own


IN_A_WORKER = """
import sys
from trainables import own_places
from trainables.own_parts import load
from trainables.own_places import file_at, take
files = {"parts/a.py": "from tools import two\\nfrom package.m import three\\ndef b(): return two + three",
         "tools.py": "two = 2", "package/__init__.py": "", "package/m.py": "three = 3"}
take(files), take(dict(reversed(files.items()))), take({})
assert len(own_places._sent) == 1 and sys.path.count(str(own_places._sent[0])) == 1
print(load("parts/a.py:b")(), load("parts/a.py:b").__code__.co_filename)
take({"parts/a.py": "def b(): return 7"})
print(load("parts/a.py:b")(), len(own_places._sent))
"""


def test_files_that_were_sent_can_be_imported_where_they_are_not(tmp_path: Path) -> None:
    words = [sys.executable, "-c", IN_A_WORKER]
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PATH": ""}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    figure, file = first.split()
    assert figure == "5" and Path(file).is_relative_to(tmp_path) and Path(file).parts[-2:] == ("parts", "a.py")
    assert second == "7 2"  # what was sent last is found first


def test_a_sent_file_comes_before_one_in_the_current_folder(own_folder: Path) -> None:
    write(own_folder, {"a.py": "def b(): return 'here'"})
    take({"a.py": "def b(): return 'sent'"})
    assert load("a.py:b")() == "sent"
    assert file_at("a.py") == own_places._sent[0] / "a.py"


def test_the_version_of_an_installed_part_is_its_packages(own_folder: Path) -> None:
    assert version_of("torch.nn:Identity") == f"torch {importlib.metadata.version('torch')}"
    assert version_of("PIL.Image:new") == f"pillow {importlib.metadata.version('pillow')}"  # another name than its own
    assert version_of("no_module:B") == version_of("json:dumps") == version_of("resnet") == ""
    write(own_folder, {"mine.py": "def b(): ..."})
    assert version_of("mine:b") == version_of("mine.py:b") == ""


def test_folders_of_sent_files_go_once_nobody_has_used_them_for_a_week(tmp_path: Path) -> None:
    mine = tmp_path / f"diffusion-ablations-{os.getuid()}"
    old, used, recent = (mine / f"parts-{name}" for name in ("old", "used", "recent"))
    for folder in (old, used, recent):
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("")
        os.utime(folder, (0, 0) if folder != recent else None)
    words = [sys.executable, "-c", IN_A_WORKER]
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PATH": ""}
    handle = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)  # as a trial that has run for longer
        subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=True)
    finally:
        os.close(handle)
    assert not old.exists() and (used / "a.py").exists() and (recent / "a.py").exists()
    laid = set(mine.iterdir()) - {used, recent}
    assert len(laid) == 2  # both of them are new
    for folder in laid:
        os.utime(folder, (0, 0))
    subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert all(time.time() - folder.stat().st_mtime < 60 for folder in laid)  # one that is used again is young again


def test_own_files_are_neither_pythons_nor_installed_nor_ours(own_folder: Path) -> None:
    import torch

    write(own_folder, {"a.py": "x = 1"})
    assert is_own_file(own_folder / "a.py")
    for file in (json.__file__, torch.__file__, own_parts.__file__, own_folder / "none.py", own_folder):
        assert not is_own_file(Path(file))
    assert [folder_of(top) for top in ("json", "torch", "trainables", "a")] == [None, None, None, own_folder]
