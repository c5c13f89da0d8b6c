"""Code of a person's own through a whole study: on Ray's workers, in the keys, in MLflow."""

import csv
import shlex

import pytest
from own_change import FILES, WORDS

pytestmark = pytest.mark.slow

VARIANTS = [words for words in WORDS if not words.startswith("--set")]
OF_THE_STUDY = [words for words in WORDS if words.startswith("--set")]
BLOCK = """
from torch import nn
from layers import activation


class Block(nn.Module):
    def __init__(self, in_channels, out_channels, emb_channels, unet):
        super().__init__()
        self.conv, self.emb = nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.Linear(emb_channels, out_channels)

    def forward(self, x, emb):
        return activation(self.conv(x) + self.emb(emb)[:, :, None, None])
"""
LAYERS = """
import torch


def activation(h):
    return torch.relu(h)
"""
OTHERS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, image_channels):
        super().__init__()
        self.inner = nn.Conv2d(image_channels + 1, 8, 3, padding=1)
        self.outer = nn.Conv2d(8, image_channels, 3, padding=1)

    def forward(self, x_t, t):
        level = (t / 1000)[:, None, None, None].expand(-1, 1, *x_t.shape[2:])
        return self.outer(torch.relu(self.inner(torch.cat([x_t, level], 1))))


def brightness(samples, real):
    return (samples.float().mean() - real.float().mean()).abs()
"""


def measured(storage):
    (path,) = storage.glob("studies/*/table.csv")
    with path.open() as file:
        return {(row["variant"], row["metric"]): row["mean"] for row in csv.DictReader(file)}


def test_own_code_runs_on_workers_and_only_what_an_edit_reaches_runs_again(commands, root, tmp_path, monkeypatch):
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.chdir(code)
    monkeypatch.setenv("PYTHONPATH", str(root))
    for name, text in (("my_block.py", BLOCK), ("layers.py", LAYERS), ("others.py", OTHERS)):
        (code / name).write_text(text)
    command = commands(
        tmp_path / "runs",
        *("--variants", "baseline", "--variant", "mine: unet.block=my_block.py:Block"),
        *("--variant", "net: network=others.py:Net, segmentation.blocks=[inner]"),
        *("--set", "fid.metrics=[fid_digits, others.py:brightness]"),
    )
    first = command.run()
    assert first.returncode == 0, first.stderr + first.stdout
    before = measured(command.storage)
    assert {metric for _, metric in before} >= {"fid_digits", "miou", "brightness"}
    assert before["net", "miou"] != before["baseline", "miou"] != before["mine", "miou"]
    assert "brightness" in first.stdout

    client, runs = command.runs()
    kept = {f.path for f in client.list_artifacts(runs["mine-seed0"].info.run_id, "code")}
    assert kept == {"code/my_block.py", "code/layers.py", "code/others.py"}  # the metric's too

    (code / "layers.py").write_text("# A comment.\n" + LAYERS)
    (code / "my_block.py").write_text(BLOCK.replace("class Block", "# A comment.\nclass Block"))
    assert " ".join(command.run("--dry-run").stdout.split()).count("none: all in the") == 6
    (code / "layers.py").write_text(LAYERS.replace("relu", "tanh"))
    again = command.run()
    assert again.returncode == 0, again.stderr + again.stdout
    assert "5 done, 1 to run" in again.stdout
    assert "1 stored result of training made before layers.py changed" in " ".join(again.stdout.split())
    after = measured(command.storage)
    changed = {variant for (variant, metric), mean in after.items() if mean != before[variant, metric]}
    assert changed == {"mine"}


def test_every_example_of_the_page_runs_on_nodes_that_do_not_have_its_files(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    from ray.cluster_utils import Cluster

    code, elsewhere = tmp_path / "code", tmp_path / "elsewhere"
    for folder in (code, elsewhere):
        folder.mkdir()
    for name, text in FILES.items():
        (code / name).write_text(text)
    monkeypatch.chdir(elsewhere)  # where the nodes' workers will run
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        monkeypatch.chdir(code)
        variants = [word for i, words in enumerate(VARIANTS) for word in ("--variant", f"v{i}: {words}")]
        command = commands(
            tmp_path / "runs",
            *("--variants", "baseline", *variants, *shlex.split(" ".join(OF_THE_STUDY))),
            *("--address", cluster.address, "--gpus-per-trial", "0"),
        )
        done = command.run(network=True)
    finally:
        cluster.shutdown()
    assert done.returncode == 0, done.stderr + done.stdout
    found = measured(command.storage)
    assert {variant for variant, _ in found} >= {"baseline", *(f"v{i}" for i in range(len(VARIANTS)))}
    assert len({found[f"v{i}", "fid_digits"] for i in range(len(VARIANTS))}) == len(VARIANTS)
    assert {metric for _, metric in found} >= {"fid_digits", "miou", "coverage"}


def test_what_cannot_run_starts_nothing(commands, tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(root))
    (tmp_path / "my_block.py").write_text(BLOCK)
    command = commands(tmp_path / "runs", "--variant", "mine: unet.block=my_block.py:Block")
    refused = command.run()
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line == (
        "error: variant mine: my_block.py: cannot be imported: ModuleNotFoundError: No module named 'layers' "
        "(my_block.py, line 3)"
    )
    assert not (tmp_path / "runs").exists()
