"""What of a script or a notebook's cells is sent for a class or function in it, and what cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CELLS = [
    "import torch\nimport xml.dom.minidom\nimport torch.nn.functional as F\nfrom torch import nn, relu as rectified",
    "from layers import SLOPE, twice\nfrom layers import *",
    "SLOPE = 0.5\nSIZES = [1, (2, 3), {'a': None}]\nmodel, data = object(), [object()]",
    "def unused():\n    return model",
    "def scaled(x):  # a comment\n    return helped(x) * SLOPE",
    "def helped(x, depth=len(SIZES)):\n    data = 1\n    return twice(x) + depth if depth else scaled(x)",
    """
class Base(nn.Module):
    size: int = 3
    \"\"\"No function is in it.\"\"\"
""",
    """
def marked(cls):
    return cls


@marked
class Block(Base):
    limit = 2

    def forward(self, x):
        model = [SLOPE for _ in SIZES]
        return F.relu(rectified(scaled(x))) + len(model) + other(x) + torch.ones(1) + self.size
""",
    "other = helped\nBase.size = 4\nhelped.flag = True\nparts = xml.dom.minidom",
    "def reads():\n    return xml.dom.minidom.parseString('<a/>'), starred()",
]
BAD = {
    "def part():\n    return model": "part uses model, an object of object, which cannot be sent; allowed: imports, ",
    "class part:\n    x = data\n": "part uses data, an object of list, which cannot be sent; allowed: imports, classes",
    "part = lambda x: x": "a lambda has no name to find it by: write it with def",
    "part = Block()": "must be a class or a function, not an object of Block: its arguments go to the _args",
    "import functools\npart = functools.partial(scaled, 1)": "must be a class or a function, not an object of partial",
    "def outer():\n    def part(): ...\n    return part\npart = outer()": "outer.<locals>.part: must stand by",
    "part = Block.forward": "Block.forward: must stand by itself in a file or cell, not inside of another",
    "part = helped\ndef helped(): ...": "helped stands for something else by now, or was deleted: hand over the newest",
    "exec('def part(): ...')": "the source of part is not to be had: define it in a cell, a script or a file",
    "def part(): ...\npart.table = model": "part.table was set after the definition of part: write it into",
}
SCRIPT = """
import json, sys
from orchestrator.planning.objects import as_settings
from trainables.own_parts import PartError, load
from trainables.own_places import take

def said(part):
    files = {}
    try:
        named = as_settings({"x": part}, files)["x"]
    except PartError as error:
        return str(error)
    return [named, *files.values()]
"""
USED = """
named, text = said(Block)
take({named.partition(":")[0]: text})
made = load(named)()
figures = [float(block.forward(torch.ones(1))) for block in (made, Block())]
print(json.dumps([named, text, *figures, said(reads)[1]]))
"""
IN_CELLS = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.interactiveshell import sys as _
shell = InteractiveShell.instance(user_module=sys.modules["__main__"])
del sys.modules["__main__"].__file__
for cell in json.load(sys.stdin):
    done = shell.run_cell(cell, store_history=True)
    if not done.success:
        sys.exit(1)
"""


def ran(folder: Path, cells: list[str], script: bool) -> str:
    (folder / "layers.py").write_text("SLOPE = 0.2\ndef twice(x): return 2 * x\ndef starred(): return 7")
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "HOME": str(folder), "IPYTHONDIR": str(folder)}
    if script:
        (folder / "my study.py").write_text("\n".join(cells))
        line, given = ["my study.py"], ""
    else:
        (folder / "run.py").write_text(IN_CELLS)
        line, given = ["run.py"], json.dumps(cells)
    done = subprocess.run(
        [sys.executable, *line], cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", [True, False], ids=["script", "cells"])
def test_a_class_is_sent_with_all_that_it_names_and_no_more(tmp_path: Path, script: bool) -> None:
    named, text, sent, here, reads = json.loads(ran(tmp_path, [SCRIPT, *CELLS, USED], script).splitlines()[-1])
    assert named == ("my_study_Block.py:Block" if script else "notebook_Block.py:Block")
    assert sent == here
    assert text == EXPECTED
    assert reads.startswith("from layers import starred\nimport xml, xml.dom.minidom\n\ndef reads():\n")


EXPECTED = '''from layers import twice
from torch import relu as rectified
import torch
import torch.nn as nn
import torch.nn.functional as F

class Base(nn.Module):
    size: int = 3
    """No function is in it."""

Base.size = 4
SIZES = [1, (2, 3), {'a': None}]
SLOPE = 0.5
def marked(cls):
    return cls

def scaled(x):  # a comment
    return helped(x) * SLOPE

def helped(x, depth=len(SIZES)):
    data = 1
    return twice(x) + depth if depth else scaled(x)

helped.flag = True
other = helped
@marked
class Block(Base):
    limit = 2

    def forward(self, x):
        model = [SLOPE for _ in SIZES]
        return F.relu(rectified(scaled(x))) + len(model) + other(x) + torch.ones(1) + self.size
'''


def test_what_cannot_be_sent_is_told_in_a_line(tmp_path: Path) -> None:
    cells = [SCRIPT, *CELLS]
    for cell in BAD:
        cells += [cell, "print(said(part))", "del part"]
    told = ran(tmp_path, cells, script=False).splitlines()
    assert len(told) == len(BAD)
    for line, says in zip(told, BAD.values(), strict=True):
        assert line.startswith(f"x: {says}")
