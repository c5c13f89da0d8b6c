"""A study from Python: what is refused before anything starts, and that it is the command line's study."""

import csv
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from orchestrator import ablate, from_python, signals
from orchestrator.errors import UsageError
from search_spaces.presets import quick

BLOCK = {"unet.block": "my_block.py:Block"}


class Inner:
    class Block: ...

    def __call__(self): ...


REFUSED = [
    ({"baseline": "quik"}, "baseline: unknown preset 'quik' of ablations; allowed: quick, "),
    ({"baseline": {"preset": "quick", "unet.blok": 1}}, "ablate: settings: unknown setting 'unet.blok'; did you mean"),
    ({"baseline": "none.yaml"}, "none.yaml: No such file or directory"),
    ({"variants": {"x": {"unet.block": lambda x: x}}}, "variant x: unet.block: a lambda has no name to find it by"),
    ({"variants": {"x": {"unet.block": Inner()}}}, "variant x: unet.block: must be a class or a function, not an obj"),
    ({"variants": {"x": {"unet.block": Inner.Block}}}, "variant x: unet.block: Inner.Block: must stand by itself in"),
    ({"variants": {"x": {"unet.base_channels": "y"}}}, "ablate: variants.x: unet.base_channels: input should be a val"),
    ({"variants": {"seed": {"seed": 3}}}, "ablate: variants.seed: the seed is given by seeds"),
    ({"variants": {"x": None}}, "variants: unknown variant 'x'; allowed: baseline, "),
    ({"variants": "adagn"}, "variants: must be a list of names, or name -> settings, but got 'adagn'"),
    ({"variants": {"same": {}}}, "variant same: "),
    ({"settings": {"fid.metrics": [len, max]}}, "fid.metrics: builtins:len is of Python itself: write a class or"),
    ({"seeds": []}, "ablate: seeds: "),
    ({"seeds": [-1]}, "ablate: seeds: "),
    ({"design": "half"}, "ablate: design: input should be 'one-at-a-time', 'leave-one-out', "),
    ({"components": "adagn"}, "ablate: components: input should be a valid list, but got 'adagn'"),
    ({"design": "factorial", "components": ["adagn"]}, "components: the design factorial needs at least 2, but got 1"),
    ({"pairs": ["adagn"]}, "pairs: must be two variants and a +, such as adagn+cosine, but got 'adagn'"),
    ({"suite": "none"}, "suite: unknown suite 'none' of ablations; allowed: "),
    ({"name": "a/b"}, "ablate: name: must be at most 80 letters"),
    ({"data_root": "none"}, "data_root: there is no folder none"),
    ({"gpus_per_trial": 0.3, "address": "h:1"}, "address: no Ray cluster answers at h:1"),
    ({"cpus_per_trial": 0}, "cpus_per_trial: must be 1 to "),
    ({"gpu_hour_price": 1.0, "gpus_per_trial": 0}, "gpu_hour_price: these trials use no GPU; drop it, or give gpus_p"),
    ({"tracking_uri": "nothing://x"}, "tracking_uri: "),
    ({"store": "memory://x"}, "store: memory:// is not shared between processes"),
]


@pytest.mark.parametrize(("given", "says"), REFUSED, ids=[str(given)[:50] for given, _ in REFUSED])
def test_what_cannot_be_is_one_line_that_names_the_argument(own_folder, given, says):
    with pytest.raises(UsageError) as caught:
        ablate(**given)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)
    assert not list(own_folder.iterdir())


@pytest.fixture
def requested(monkeypatch, own_folder):
    """Calls ablate, and gives what it would run."""

    def call(*words, **more):
        monkeypatch.setattr(from_python, "_run", lambda args, request: (args, request))
        return ablate(*words, **more)

    return call


def test_the_variants_that_are_given_run_and_no_others(requested):
    _, request = requested(variants={"adagn": None, "cosine": {"unet.base_channels": 32}}, seeds=range(3))
    assert request.chosen == ["adagn", "cosine"] and request.own == {"cosine": {"unet.base_channels": 32}}
    assert list(request.seeds) == [0, 1, 2]
    assert requested(variants=["adagn"])[1].chosen == ["adagn"]
    assert requested(variants={})[1].chosen == ["baseline"]
    assert requested()[1].chosen is None


def test_a_study_file_is_laid_under_the_arguments(requested, own_folder):
    (own_folder / "a.yaml").write_text(
        "seeds: [4]\nsettings: {unet.base_channels: 32, training.train_steps: 9}\nvariants: {x: {unet.dropout: 0.1}}"
    )
    _, request = requested("a.yaml", settings={"training.train_steps": 7})
    assert request.settings == {"unet.base_channels": 32, "training.train_steps": 7}
    assert (list(request.seeds), request.own, request.chosen) == ([4], {"x": {"unet.dropout": 0.1}}, None)
    _, request = requested(own_folder / "a.yaml", variants=["x"], seeds=[0])
    assert (list(request.seeds), request.chosen) == ([0], ["x"])


def test_the_defaults_are_the_command_lines(requested):
    from orchestrator import arguments

    args, request = requested()
    assert vars(args) == vars(arguments.parser().parse_args(["ablations"]))
    assert request.preset == "quick" and request.settings == {} and list(request.seeds) == [0]
    assert quick().unet.block == "resnet"


def test_a_part_is_named_by_its_module_or_by_its_file(requested, own_folder):
    import torch

    from trainables.own_parts import load

    (own_folder / "parts").mkdir()
    (own_folder / "parts" / "my_block.py").write_text("class Block: ...")
    (own_folder / "my_norms.py").write_text("class Norm: ...")
    of_file, of_module = load("parts/my_block.py:Block"), load("my_norms:Norm")
    settings = {"unet.block": of_file, "unet.norm": of_module, "network": torch.nn.Identity}
    _, request = requested(settings=settings)
    assert request.settings == {
        "unet.block": "parts/my_block.py:Block",
        "unet.norm": "my_norms:Norm",
        "network": "torch.nn.modules.linear:Identity",
    }


def test_signals_are_as_before_and_what_came_is_forgotten(requested, monkeypatch):
    heeded = [signal.getsignal(number) for number in signals.HEEDED]

    def stopped(args, request):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise KeyboardInterrupt

    monkeypatch.setattr(from_python, "_run", stopped)
    with pytest.raises(KeyboardInterrupt):
        ablate()
    assert [signal.getsignal(number) for number in signals.HEEDED] == heeded
    signals.check()


def test_a_call_within_a_call_and_a_second_ray_are_refused(requested, monkeypatch):
    monkeypatch.setattr(from_python, "_run", lambda args, request: ablate())
    with pytest.raises(UsageError, match=r"^ablate: another call of it runs in this process"):
        ablate()
    monkeypatch.setitem(sys.modules, "ray", type("Ray", (), {"is_initialized": staticmethod(lambda: True)}))
    for _ in range(2):
        with pytest.raises(
            UsageError, match=r"^ablate: this process has a Ray of its own: call ray\.shutdown\(\) first"
        ):
            ablate()


def test_importing_the_package_imports_none_of_its_rooms():
    code = "import orchestrator, sys; print([n for n in sys.modules if n.split('.')[0] in ('orchestrator', 'torch')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['orchestrator']\n"


SCRIPT = """
import json, sys, threading
from torch import nn
from torch.nn import functional as F
from orchestrator import ablate

SETTINGS, WIDTH = json.loads(sys.argv[1]), 3


class ReluBlock(nn.Module):
    def __init__(self, in_channels, out_channels, emb_channels, unet):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, WIDTH, padding=WIDTH // 2)
        self.emb = nn.Linear(emb_channels, out_channels)

    def forward(self, x, emb):
        return F.relu(self.conv(x) + self.emb(emb)[:, :, None, None])


class Breaks(ReluBlock):
    def forward(self, x, emb):
        assert len(x) < 8, "too many images"
        return super().forward(x, emb)


def said(study):
    csv = study.table().to_csv(index=False, lineterminator="\\n")
    print(json.dumps([study.name, study.exit_code, study.failures, csv, len(study.trials())]), file=sys.stderr)


def in_a_thread():
    own = {"relu": {"unet.block": ReluBlock}, "breaks": {"unet.block": Breaks}}
    said(ablate(variants={"cosine": None, **own}, settings=SETTINGS))


study = ablate(variants=["cosine"], settings=SETTINGS)
said(study)
study.show()
assert "<table>" in study._repr_html_()
thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
WIDTH = 1
said(ablate(variants={"cosine": None, "relu": {"unet.block": ReluBlock}}, settings=SETTINGS))
"""


@pytest.mark.slow
def test_it_is_the_command_lines_study_and_an_edit_runs_its_variant_alone(finished, copied, tiny, root, tmp_path):
    command = copied(finished)
    (table,) = command.storage.glob("studies/*/table.csv")
    before = table.read_text()
    (tmp_path / "study.py").write_text(SCRIPT)
    line = [sys.executable, "study.py", json.dumps(tiny)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    first, second, third = (json.loads(text) for text in done.stderr.splitlines() if text.startswith("["))
    counts = [text.rpartition(": ")[2] for text in done.stdout.splitlines() if " to run" in text]
    assert counts == ["5 done, 0 to run", "5 done, 2 to run", "5 done, 1 to run"]
    assert first == [table.parent.name, 0, {}, before, 5]
    assert str(command.storage.name) in done.stdout and "samples.png" in done.stdout
    assert second[:2] == [first[0], 1] and list(second[2]) == ["breaks-seed0"]
    assert second[2]["breaks-seed0"] == "AssertionError: too many images"
    assert third[:2] == [first[0], 0]
    assert "1 stored result of training made before study_ReluBlock.py changed" in done.stdout
    then, now = means(second[3]), means(third[3])
    assert {variant for (variant, metric), mean in then.items() if now[variant, metric] != mean} == {"relu"}
    assert third[3] == table.read_text()


def means(text):
    return {(row["variant"], row["metric"]): row["mean"] for row in csv.DictReader(io.StringIO(text))}
