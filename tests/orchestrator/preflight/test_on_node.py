from functools import partial

import numpy as np
import pytest
import torch

from orchestrator.cluster.nodes import Node
from orchestrator.planning import plan
from orchestrator.planning.settings import Request
from orchestrator.preflight import check, on_node
from search_spaces.spaces import ABLATIONS, SEGMENTATION
from trainables.config import apply
from trainables.data import about
from trainables.source import own_files, reached, source_hash


@pytest.fixture(scope="module")
def study(tiny):
    return plan.build(Request(ABLATIONS, settings=tiny))


@pytest.mark.parametrize("gpu", [False, True])
def test_a_short_trial_keeps_what_fills_a_gpu(gpu):
    for space in (ABLATIONS, SEGMENTATION):
        for preset in space.presets.values():
            config = preset()
            found = on_node.short(config, gpu)
            assert found.training.train_steps == found.sampling.sampling_steps == 2
            assert found.segmentation.label_images < config.segmentation.label_images
            assert (found.unet, found.training.batch_size) == (config.unet, config.training.batch_size)
            assert found.sampling.samples == (config.sampling.batch_size if gpu else 8)


@pytest.fixture
def a_gpu(monkeypatch):
    """A GPU of 10 GB, of which 6 GB were in use at most."""
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 6 * 10**9)
    memory = type("Properties", (), {"total_memory": 10**10})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)


def dry(study: plan.Study, gpus: float, cpus: int = 1, deterministic: bool = True) -> tuple[bool, str]:
    config = study.baseline.model_dump(mode="json")
    inputs = {"data_root": None, "checkpoint": None}
    given = {"cpus": cpus, "gpus": gpus, "device": "cpu", "deterministic": deterministic}
    return on_node.dry_trial({"config": config, "inputs": inputs, "own_files": {}, **given})


@pytest.mark.parametrize(("deterministic", "threads"), [(True, 1), (False, 2)])
def test_a_dry_trial_has_the_threads_of_a_trial(study, monkeypatch, deterministic, threads):
    before, during = torch.get_num_threads(), []
    monkeypatch.setattr("trainables.pipeline.run_trial", lambda *_, **__: during.append(torch.get_num_threads()) or [])
    try:
        assert dry(study, 0, 2, deterministic)[0]
    finally:
        torch.set_num_threads(before)
    assert during == [threads]


def test_a_dry_trial_tells_of_the_gpus_memory(study, a_gpu, monkeypatch):
    ok, detail = dry(study, 1)
    assert ok
    assert detail.endswith("s; peak 6.0 GB of the GPU's 10.0 GB")
    assert dry(study, 0.5) == (
        False,
        "GPU memory too small: peak 6.0 GB of the GPU's 10.0 GB, which 2 trials share",
    )

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainables.training.Trainer.run", full)  # the trial would go on with each batch in two parts
    assert dry(study, 1) == (False, "GPU out of memory: peak 6.0 GB of the GPU's 10.0 GB")


def test_a_node_tells_what_it_cannot_use_in_one_line(study, tmp_path):
    other = tmp_path / "weights.pt"
    other.write_bytes(b"other weights")
    bedroom = apply(SEGMENTATION.presets["bedroom"](), {"pretrained.weights": "0" * 64})
    ask = {
        "looks": ["data", "checkpoint", "disk", "not known here"],
        "config": bedroom.model_dump(mode="json"),
        "inputs": {"data_root": str(tmp_path), "checkpoint": str(other)},
        "own_files": {},
        "store": str(tmp_path / "not" / "there"),
    }
    found = {what: (ok, detail) for what, ok, detail in on_node.answer(ask)["found"]}
    assert {what: ok for what, (ok, _) in found.items()} == dict.fromkeys(ask["looks"], False) | {"disk": True}
    assert found["data"][1].startswith("there is no bedroom_28 data")
    assert found["checkpoint"][1].startswith(f"{other} is another file: SHA-256 ")
    assert not any("\n" in detail for _, detail in found.values())


def test_a_node_tells_how_many_images_its_data_have_and_how_they_are_split(tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8))
    config, inputs = apply(ABLATIONS.presets["own"](), {}), {"data_root": str(tmp_path), "checkpoint": None}
    fingerprint = about(config.data, tmp_path).fingerprint
    ask = {
        "looks": ["data"],
        "own_files": {},
        "config": config.model_dump(mode="json"),
        "inputs": inputs,
        "fingerprint": fingerprint,
    }
    told = f"folder, 10 images (grey): 8 to train on, 2 held out, no masks; fingerprint {fingerprint[:12]}"
    assert on_node.answer(ask)["found"] == [("data", True, told)]
    ((_, ok, detail),) = on_node.answer({**ask, "fingerprint": "0" * 64})["found"]
    assert not ok and detail.startswith(f"other files than the driver's in {tmp_path}")


def test_a_node_imports_the_code_that_it_is_sent_and_compares_it_with_the_drivers(own_folder):
    (own_folder / "own.py").write_text("def schedule(timesteps):\n    return [0.1] * timesteps\n")
    parts = ["own.py:schedule"]
    ask = {
        "looks": ["own code"],
        "own_files": own_files(parts),
        "own_parts": parts,
        "own_source": source_hash(reached(parts, frozenset())),
    }
    (own_folder / "own.py").unlink()  # the node has what it is sent alone
    ((_, ok, detail),) = on_node.answer(ask)["found"]
    assert ok and detail == f"own.py:schedule, hash {ask['own_source']}"
    ((_, ok, detail),) = on_node.answer(ask | {"own_source": "0" * 10})["found"]
    assert not ok and detail.startswith("own.py:schedule: other code than the driver's")
    broken = ask | {"own_files": {"own.py": "import nowhere\n"}}
    ((_, ok, detail),) = on_node.answer(broken)["found"]
    assert not ok and "No module named 'nowhere'" in detail


@pytest.mark.parametrize("of", [plan.build, partial(plan.search, objective="validation_miou")], ids=["study", "search"])
def test_a_check_compares_the_code_that_the_study_was_planned_with(own_folder, tiny, of):
    file, text = own_folder / "own.py", "def schedule(timesteps):\n    return [0.1] * timesteps\n"
    file.write_text(text)
    settings = tiny | {"diffusion.beta_schedule": "own.py:schedule"}
    study = of(Request(SEGMENTATION, settings=settings, heat_map=()))
    file.write_text(text.replace("0.1", "0.2"))  # meanwhile
    ask = check._ask(study, check.Probe(str(own_folder / "store")), Node("id", "name", {}), works=True, thorough=False)
    assert ask["own_files"] == {"own.py": text}
    assert "own code" in ask["looks"]
    file.unlink()  # the node has what it is sent alone
    ((_, ok, detail),) = on_node.answer({**ask, "looks": ["own code"]})["found"]
    assert ok and detail == f"own.py:schedule, hash {ask['own_source']}"
