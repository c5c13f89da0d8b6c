"""A researcher's change is code: it runs again what it computes, unless what was made before is taken on purpose."""

import csv
import shutil

import pytest

pytestmark = pytest.mark.slow


def figures(storage):
    (path,) = storage.glob("studies/*/table.csv")
    with path.open() as file:
        return {(row["variant"], row["metric"]): row["mean"] for row in csv.DictReader(file)}


def test_an_edited_block_runs_again_and_is_never_mixed_in_silently(root, finished, copied, tmp_path, monkeypatch):
    code = tmp_path / "code"
    for package in ("orchestrator", "search_spaces", "trainables", "results"):
        shutil.copytree(root / package, code / package)
    monkeypatch.chdir(code)
    monkeypatch.setenv("PYTHONPATH", str(code))
    command = copied(finished)
    before = figures(command.storage)

    blocks = code / "trainables" / "unet" / "blocks.py"
    blocks.write_text("# A comment.\n" + blocks.read_text())
    assert "5 done, 0 to run" in command.run().stdout

    blocks.write_text(blocks.read_text().replace("F.silu", "F.relu"))
    taken = command.run("--accept-code")
    assert taken.returncode == 0, taken.stderr
    as_it_is = "--accept-code: what other code made is used as it is, of training, FID, sampling, segmentation"
    assert as_it_is in taken.stdout
    assert "by --accept-code as other code had made it" in " ".join(taken.stdout.split())
    assert figures(command.storage) == before

    again = command.run()
    assert again.returncode == 0, again.stderr
    told = " ".join(again.stdout.split())
    assert "3 stored results of training made before unet/blocks.py changed: not used, made again" in told
    assert "--accept-code as other code" not in told
    after = figures(command.storage)
    assert after["baseline", "fid_digits"] != before["baseline", "fid_digits"]
    assert after["raw_pixels", "miou"] == before["raw_pixels", "miou"]
