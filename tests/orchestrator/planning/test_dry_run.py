"""What a dry run prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.cluster.resources import Resources
from orchestrator.planning import dry_run
from orchestrator.planning.dry_run import show_plan, show_search
from orchestrator.planning.plan import build, search
from orchestrator.planning.settings import Request
from orchestrator.planning.speed import Speed
from search_spaces.spaces import ABLATIONS, SEGMENTATION
from trainables.store import Store

CPU = Resources(1, 0.0, 0, deterministic=True)


def column(output: str, number: int) -> str:
    """A column of the table, its lines joined."""
    return "".join(line.split("│")[number].strip() for line in output.splitlines() if line.count("│") > number)


def test_what_a_variant_changes_is_shown_whole(
    own_folder: Path, tiny: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    name, file = "a_variant_with_a_name_of_forty_characters", "a_folder_of_parts/a_file_of_a_rather_long_name.py"
    (own_folder / file).parent.mkdir()
    code = "import torch\ndef a_loss_of_my_own(output, target, **args): return ((output - target) ** 2).mean((1, 2, 3))"
    (own_folder / file).write_text(code)
    delta = {"training.loss": f"{file}:a_loss_of_my_own", "training.loss_args.a_rather_long_argument": [0.125] * 9}
    request = Request(ABLATIONS, settings=tiny, new=[(name, delta)], chosen=["baseline"])
    show_plan(build(request), Store(own_folder / "store"), CPU)
    out = capsys.readouterr().out
    assert "…" not in out
    assert f"{name}-seed0" in column(out, 1)
    assert f"training.loss={file}:a_loss_of_my_own" in column(out, 2).replace(" ", "")
    assert column(out, 2).count("0.125") == 9


def test_what_a_search_may_vary_is_shown_whole(
    tmp_path: Path, tiny: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    study, words = search(Request(SEGMENTATION, settings=tiny), objective="validation_miou"), "1|2|3|" * 60
    show_search(study, {"a.setting": words}, 4, Store(tmp_path), CPU)
    out = capsys.readouterr().out
    assert "…" not in out and words in column(out, 2)


@pytest.mark.parametrize("stored", [False, True])
def test_the_time_in_all_leaves_out_rays_start_and_says_so(
    stored: bool,
    tmp_path: Path,
    tiny: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Store, "has", lambda *names: stored)
    monkeypatch.setattr(dry_run, "measured_speed", lambda *of: Speed(1e9, "a round figure"))
    show_plan(build(Request(ABLATIONS, settings=tiny, chosen=["baseline"])), Store(tmp_path), CPU)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("about ")]
    assert re.match("about .*s in all; " if stored else "about .*s in all, and the start of Ray and its ", line), line
