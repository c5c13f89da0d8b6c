"""A trial that is stopped and goes on ends bit for bit as one that was not."""

import pickle
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.presets import quick
from trainables import pipeline
from trainables.checkpoints import STATE, Checkpoints
from trainables.config import Config, apply
from trainables.data import load
from trainables.evaluation import pixel_classifier
from trainables.evaluation.features import FeatureMaps
from trainables.evaluation.pixel_classifier import Labelled
from trainables.pipeline import run_trial
from trainables.sampling import draw
from trainables.stages import stage_keys
from trainables.store import Store, checkpoint_folder
from trainables.training import Trainer, build

EXACT = {"ddpm": "ema.safetensors", "samples": "samples.npy", "fid": "metrics.json", "segmentation": "metrics.json"}


@pytest.fixture(scope="module")
def config(tiny) -> Config:
    more = {"training.train_steps": 12, "sampling.batch_size": 20, "segmentation.epochs": 3, "unet.dropout": 0.1}
    return apply(quick(), tiny | more)


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    *_, last = run_trial(config, Store(root), checkpoint_interval_s=1e9)
    return contents(root, config), last.result["metrics"]


def contents(root: Path, config: Config) -> dict[str, bytes]:
    keys = stage_keys(config, load(config.data).about)
    return {stage: (root / stage / keys[stage] / name).read_bytes() for stage, name in EXACT.items()} | {
        f"{stage} history": (root / stage / keys[stage] / pipeline.HISTORY).read_bytes() for stage in EXACT
    }


@pytest.mark.parametrize("stage", EXACT)
@pytest.mark.parametrize("records", [2, 3, 5])
def test_a_trial_given_up_in_any_stage_ends_as_an_undisturbed_one(stage, records, config, undisturbed, tmp_path):
    stopped = run_trial(config, Store(tmp_path), checkpoint_interval_s=0)
    seen = 0
    for record in stopped:
        seen += record.stage == stage
        if seen == records:
            break
    stopped.close()
    torch.manual_seed(123)  # what another trial in the same worker leaves behind
    *_, last = run_trial(config, Store(tmp_path), checkpoint_interval_s=0)
    assert last.result["metrics"] == undisturbed[1]
    assert contents(tmp_path, config) == undisturbed[0]


@pytest.mark.parametrize("calls", [1, 2, 4, 5])
@pytest.mark.parametrize(
    "more", [{}, {"training.self_conditioning": True}, {"diffusion.learned_variance": True}], ids=str
)
def test_a_batch_of_samples_goes_on_in_its_middle(calls, more, config, tmp_path):
    # Of the ancestral sampler each step draws: the random stream must go on too, and what a network remembers.
    settings = {"sampling.sampler": "ddpm", "sampling.sampling_steps": 3, "sampling.samples": 30}
    config = apply(config, settings | more)
    model, shape, cpu = build(config, 1, torch.device("cpu")).eval(), torch.Size((1, 16, 16)), torch.device("cpu")
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    never, often = (Checkpoints(Store(tmp_path), "samples", key, s) for key, s in (("never", 1e9), ("often", 0)))
    whole = finished(draw(config, model, shape, cpu, never))
    half = draw(config, model, shape, cpu, often)
    while next(half).step < calls + 1:
        pass
    half.close()
    often.wait()
    rest = draw(config, model, shape, cpu, often)
    assert next(rest).step == calls
    again = finished(rest)
    assert np.array_equal(again.samples(2), whole.samples(2))
    assert np.array_equal(again.frames, whole.frames)
    assert again.timesteps == whole.timesteps


def stopped():
    raise InterruptedError


def finished(making):
    while True:
        try:
            next(making)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("batches", [1, 7, 8, 9])
def test_an_epoch_of_the_classifier_goes_on_in_its_middle(batches, config, tmp_path):
    maps = FeatureMaps([torch.randn(4, 8, 8, 5, generator=torch.Generator().manual_seed(0))], 16)
    labelled = Labelled(maps, torch.arange(4 * 256).reshape(4, 16, 16) % 3, 255)
    settings = config.segmentation.model_copy(update={"batch_size": 128, "epochs": 2})
    straight, halved, resumed = (pixel_classifier.Trainer(labelled, None, 3, settings, 0) for _ in range(3))
    assert straight.batches == 8
    finished(straight.run())
    checkpoints = Checkpoints(Store(tmp_path), "segmentation", "key", 0)
    running, train_step = halved.run(checkpoints), halved._train_step
    halved._train_step = lambda x, y: train_step(x, y) if halved.step <= batches else stopped()
    with pytest.raises(InterruptedError):
        finished(running)
    checkpoints.wait()
    going_on = resumed.run(Checkpoints(Store(tmp_path), "segmentation", "key", 1e9))
    assert next(going_on).step == resumed.step > 0
    finished(going_on)
    assert same(straight.state(), resumed.state())


def test_training_goes_on_from_the_checkpoint_and_not_from_the_start(config, tmp_path):
    images = load(config.data).train
    checkpoints = Checkpoints(Store(tmp_path), "ddpm", "key", interval_s=0)
    first = Trainer(config, images)
    for progress in first.run(checkpoints):
        if progress.step == 8:
            break
    checkpoints.wait()
    second = Trainer(config, images)
    going_on = next(iter(second.run(checkpoints)))
    assert going_on.step in (7, 8)
    assert [step for step, _ in going_on.history] == list(range(1, going_on.step + 1))


def test_the_whole_state_is_equal_after_a_resume(config, tmp_path):
    images = load(config.data).train
    straight, halved = Trainer(config, images), Trainer(config, images)
    list(straight.run())
    running = halved.run()
    while next(running).step < 5:
        pass
    state = halved.state()
    list(running)  # the copies in the state must not move with the work
    resumed = Trainer(config, images)
    resumed.load_state(state)
    list(resumed.run())
    assert same(straight.state(), resumed.state())


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("killed_after_s", [0.3, 0.8, 1.5])
def test_a_process_killed_at_a_random_time_loses_nothing(killed_after_s, config, undisturbed, tmp_path):
    code = f"""
import torch
torch.set_num_threads(1)
from trainables.config import Config
from trainables.evaluation import pixel_classifier
from trainables.evaluation.features import FeatureMaps
from trainables.evaluation.pixel_classifier import Labelled
from trainables.pipeline import run_trial
from trainables.sampling import draw
from trainables.store import Store
print("ready", flush=True)
for _ in run_trial(Config.model_validate_json({config.model_dump_json()!r}), Store({str(tmp_path)!r}), "cpu", 0):
    pass
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(killed_after_s + random.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    *_, last = run_trial(config, Store(tmp_path), checkpoint_interval_s=0)
    assert last.result["metrics"] == undisturbed[1]
    assert contents(tmp_path, config) == undisturbed[0]


def half_trained(config, root) -> Path:
    """The checkpoints of a training that was given up in the middle."""
    stopped = run_trial(config, Store(root), checkpoint_interval_s=0)
    for record in stopped:
        if record.step == 8:
            break
    stopped.close()
    time.sleep(0.3)  # the last one is written in the background
    key = stage_keys(config, load(config.data).about)["ddpm"]
    return root / checkpoint_folder("ddpm", key)


def test_two_checkpoints_are_kept_and_none_once_the_stage_is_there(config, tmp_path):
    folder = half_trained(config, tmp_path)
    assert len(list(folder.iterdir())) == 2
    list(run_trial(config, Store(tmp_path), checkpoint_interval_s=0))
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "code"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(damage, config, undisturbed, tmp_path):
    older, newest = sorted(half_trained(config, tmp_path).iterdir())
    file, marker = newest / STATE, tmp_path / "ran"
    content = file.read_bytes()
    if damage == "flipped":
        file.write_bytes(content[:500] + bytes([content[500] ^ 255]) + content[501:])
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        plant_code(Store(tmp_path), newest, marker)
    with pytest.warns(UserWarning, match="damaged artefact checkpoints"):
        first, *_, last = run_trial(config, Store(tmp_path), checkpoint_interval_s=1e9)
    assert first.step == int(older.name)
    assert contents(tmp_path, config) == undisturbed[0]
    assert last.result["metrics"] == undisturbed[1]
    assert not marker.exists()
    assert list((tmp_path / "damaged").iterdir())


class Code:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def plant_code(store: Store, checkpoint: Path, marker: Path) -> None:
    """A checkpoint with a right checksum and a pickle that would run code."""
    folder, step = checkpoint.parent.relative_to(store.root).as_posix(), checkpoint.name
    store.remove(folder, step)
    with store.publish(folder, step, {}) as made:
        (made / STATE).write_bytes(pickle.dumps(Code(marker)))


@pytest.mark.parametrize("stage", EXACT)
def test_a_byte_flipped_in_any_stored_file_is_found_and_made_again(stage, config, undisturbed, tmp_path):
    list(run_trial(config, Store(tmp_path), checkpoint_interval_s=1e9))
    key = stage_keys(config, load(config.data).about)[stage]
    for file in sorted((tmp_path / stage / key).iterdir()):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0x40
        file.write_bytes(bytes(content))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            *_, last = run_trial(config, Store(tmp_path), checkpoint_interval_s=1e9)
        assert [w for w in caught if "damaged artefact" in str(w.message)], file
        assert last.result["metrics"] == undisturbed[1]
    assert contents(tmp_path, config) == undisturbed[0]


def test_memory_that_runs_out_once_is_met_with_halves_of_the_batch(config, undisturbed, tmp_path, monkeypatch):
    original = Trainer._backward

    def short_of_memory(self, x_0, t, eps):
        if self.step == 6 and self.micro_batches == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, x_0, t, eps)

    monkeypatch.setattr(Trainer, "_backward", short_of_memory)
    *records, last = run_trial(config, Store(tmp_path), checkpoint_interval_s=0)
    assert any("out of memory" in record.note for record in records)
    assert "2 parts" in last.result["note"]
    steps = [step for record in records if record.stage == "ddpm" for step in [record.step] if record.metrics]
    assert steps.count(3) == 1  # it went on from the checkpoint


def test_memory_that_runs_out_twice_fails_the_trial(config, tmp_path, monkeypatch):
    tried = []

    def short_of_memory(self, x_0, t, eps):
        tried.append(self.micro_batches)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "_backward", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        list(run_trial(config, Store(tmp_path)))
    assert tried == [1, 2]


class Full(Store):
    """A store on a disk that is full for a while."""

    failures = 3

    def _publish(self, folder: Path, path: str) -> None:
        if "/checkpoints/" not in path and Full.failures > 0:
            Full.failures -= 1
            raise OSError(28, "No space left on device")
        super()._publish(folder, path)


def test_a_full_store_is_waited_for(config, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "STORE_RETRY_S", 0.01)
    monkeypatch.setattr(Full, "failures", 3)
    *records, last = run_trial(config, Full(tmp_path))
    assert len([r for r in records if "No space left on device" in r.note]) == 3
    assert last.result["metrics"] == undisturbed[1]
    assert contents(tmp_path, config) == undisturbed[0]


def test_a_store_that_stays_full_fails_the_trial_and_leaves_nothing_half_written(config, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "STORE_RETRY_S", 0.01)
    monkeypatch.setattr(pipeline, "STORE_PATIENCE_S", 0.1)
    monkeypatch.setattr(Full, "failures", 10**9)
    with pytest.raises(OSError, match="No space left"):
        list(run_trial(config, Full(tmp_path)))
    assert not list(tmp_path.rglob("manifest.json"))
    assert not list(tmp_path.glob(".making*"))


def test_a_stage_that_another_process_makes_is_waited_for_and_made_once(config, undisturbed, tmp_path):
    trials = [run_trial(config, Store(tmp_path)) for _ in range(2)]
    first = next(trials[0])
    assert (first.stage, first.step) == ("ddpm", 0)
    waiting = next(trials[1])
    assert "another trial is making" in waiting.note
    *_, done = trials[0]
    *rest, also_done = trials[1]
    assert not [r for r in rest if r.metrics]
    assert done.result["metrics"] == also_done.result["metrics"] == undisturbed[1]


def test_time_that_was_spent_before_a_resume_is_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Checkpoints(store, "ddpm", "key", 0.0)
    time.sleep(0.3)
    first.save_now_and_then(1, lambda: {"step": 1})
    first.wait()
    again = Checkpoints(store, "ddpm", "key", 0.0)
    assert again.spent_s < 0.2
    assert again.latest() == {"step": 1}
    assert 0.3 <= again.spent_s < 5
