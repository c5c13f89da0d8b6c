"""docs/your_own_change.ipynb runs as it stands there, and again with its block's cell edited."""

import copy
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

NOTEBOOK = Path(__file__).parent.parent / "docs" / "your_own_change.ipynb"


def test_the_notebook_is_kept_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def found(cell, kind):
    return "\n".join(o["data"][kind] for o in cell["outputs"] if kind in o.get("data", {}))


def printed(cell):
    return "".join(output["text"] for output in cell["outputs"] if output["output_type"] == "stream")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_runs_and_an_edited_cell_runs_its_variants_again(tmp_path, monkeypatch, root):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    block = next(cell for cell in cells if cell.source.startswith("class ReluBlock"))
    study = next(cell for cell in cells if "study = ablate(" in cell.source)
    table, frame, pictures = cells[cells.index(study) + 1 :]
    commented, edited = (copy.deepcopy(block) for _ in range(2))
    commented.source = "# A comment.\n" + block.source.replace("self.slope = slope", "self.slope = slope  # of below 0")
    edited.source = block.source.replace("+ self.skip(x)", "- self.skip(x)")
    again = "print(sorted(study.trials()['variant'].unique()), study.exit_code)"
    more = [commented, copy.deepcopy(study), edited, copy.deepcopy(study), new_code_cell(again)]
    notebook.cells = cells + more
    monkeypatch.setenv("PYTHONPATH", str(root))
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()

    assert "10 trials: 10 to run" in printed(study)
    assert "<table>" in found(table, "text/html") and "what changed" in found(table, "text/html")
    assert "relu" in found(frame, "text/html") and "fid_digits" in found(frame, "text/html")
    assert found(pictures, "text/html").count("<img") > 10
    assert str(tmp_path) not in "".join(found(cell, "text/html") for cell in (table, frame, pictures))
    assert "10 done, 0 to run" in printed(more[1])
    assert "8 done, 2 to run" in printed(more[3])
    assert "made before notebook_ReluBlock.py changed" in printed(more[3])
    controls = ["raw_pixels", "real_images", "untrained"]
    assert printed(more[4]) == f"{sorted(['baseline', 'relu', *controls])} 0\n"
    assert os.listdir(tmp_path) == ["runs"]
