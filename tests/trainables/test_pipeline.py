"""Whole trials on the smallest budget: each runs to its result, is stored once, and gives the same figures again."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import jaccard_score
from torch import Tensor

from search_spaces.ablations import CONTROLS, VARIANTS
from search_spaces.presets import quick
from trainables import data
from trainables.checkpoints import Checkpoints
from trainables.config import Config, Overrides, apply
from trainables.evaluation import fid, pixel_classifier
from trainables.evaluation.measures import How
from trainables.inputs import Inputs
from trainables.pipeline import Changed, Record, run_trial
from trainables.sampling import draw
from trainables.sections import Pretrained
from trainables.stages import stage_keys, stage_source
from trainables.store import MANIFEST, Store
from trainables.training import Diverged, Trainer
from trainables.unet.guided_checkpoint import check_checkpoint
from trainables.unet.guided_diffusion import random_unet

ROOT = Path(__file__).parents[2]
TINY: Overrides = {
    "data.image_size": 8,
    "unet.base_channels": 8,
    "unet.channel_mults": (1, 2),
    "unet.attention_resolutions": (4,),
    "unet.attention_heads": 2,
    "training.train_steps": 3,
    "training.batch_size": 4,
    "sampling.sampling_steps": 2,
    "sampling.sampling_repeats": 2,
    "sampling.samples": 20,
    "segmentation.blocks": (4, 5),
    "segmentation.timesteps": (50, 150),
    "segmentation.label_images": 4,
    "segmentation.validation_images": 2,
    "segmentation.ensemble_size": 2,
    "segmentation.hidden_channels": (8,),
    "segmentation.epochs": 1,
    "segmentation.batch_size": 32,
}
ONE_SET = {"fid_digits", "fid_digits_half", "fid_digits_extrapolated", "samples", "reference_images"}
FID = ONE_SET | {"fid_digits_repeats_sd"}
CLASSES = ["background", *map(str, range(10))]
SEGMENTATION = {"miou", "validation_miou", "pixel_accuracy", "scored_images", "uncertainty"}
SEGMENTATION |= {f"iou/{name}" for name in CLASSES}
STAGES = ["ddpm", "samples", "reference", "fid", "segmentation"]


def _config(**overrides: Any) -> Config:
    return apply(quick(), TINY | {name.replace("__", "."): value for name, value in overrides.items()})


def _run(config: Config, root: Path) -> tuple[list[Record], dict[str, Any]]:
    *records, last = run_trial(config, Store(root))
    assert last.result is not None
    return records, last.result


def _state(root: Path) -> dict[str, int]:
    """Every file of the store and when it was written."""
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def _made(root: Path) -> list[str]:
    """The stages of the artefacts in the store; a file that belongs to none of them is an error."""
    folders = [p.parent for p in root.rglob(MANIFEST)]
    assert [p for p in root.rglob("*") if p.is_file() and p.parent not in folders] == []
    return sorted((f.parent.name for f in folders), key=STAGES.index)


def _artefact(root: Path, result: dict[str, Any], stage: str) -> Path:
    return root / stage / result["artefacts"][stage]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record], dict[str, Any]]:
    """The store, the records and the result of the baseline."""
    root = tmp_path_factory.mktemp("store")
    return root, *_run(_config(), root)


@pytest.mark.parametrize("name", VARIANTS | CONTROLS)
def test_runs_to_its_result_and_a_second_run_repeats_nothing(name: str, tmp_path: Path) -> None:
    config = apply(_config(), (VARIANTS | CONTROLS)[name])
    expected = {"real_images": ONE_SET, "raw_pixels": SEGMENTATION}.get(name, FID | SEGMENTATION)
    _, result = _run(config, tmp_path)
    keys = stage_keys(config, data.about(config.data))
    assert set(result["metrics"]) == expected
    assert all(np.isfinite(value) for value in result["metrics"].values())
    assert result["artefacts"] == keys
    assert result["wall_time_s"].keys() == keys.keys()
    assert min(result["wall_time_s"].values()) > 0
    assert _made(tmp_path) == list(keys)
    written = _state(tmp_path)
    assert _run(config, tmp_path)[1] == result
    assert _state(tmp_path) == written


def test_two_stores_hold_identical_figures(baseline: tuple[Path, list[Record], dict], tmp_path: Path) -> None:
    root, records, result = baseline
    torch.manual_seed(99)
    again, other = _run(_config(), tmp_path)
    assert other["metrics"] == result["metrics"]
    assert [r.metrics for r in again if r.stage == "ddpm"] == [r.metrics for r in records if r.stage == "ddpm"]
    for stage, name in (("ddpm", "ema.safetensors"), ("samples", "samples.npy"), ("segmentation", "iou.json")):
        assert (_artefact(tmp_path, other, stage) / name).read_bytes() == (
            _artefact(root, result, stage) / name
        ).read_bytes()


def test_what_made_the_figures_is_kept_with_them(baseline: tuple[Path, list[Record], dict], tmp_path: Path) -> None:
    root, _, result = baseline
    threads = torch.get_num_threads()
    words = f"cpu, {threads} thread{'s' if threads > 1 else ''}, numpy {np.__version__}"
    assert result["made_with"] == f"{words}, python {platform.python_version()}, torch {torch.__version__}"
    manifest = _artefact(root, result, "ddpm") / "manifest.json"
    facts = json.loads(manifest.read_text())["facts"]
    assert facts["source"] == dict(stage_source(_config(), data.about(_config().data), "ddpm"))
    # A store of before it was recorded.
    _run(_config(), tmp_path)
    for path in tmp_path.glob("ddpm/*/manifest.json"):
        content = json.loads(path.read_text())
        del content["facts"]["versions"], content["sum"]
        path.write_text(json.dumps(content))
    assert _run(_config(), tmp_path)[1]["made_with"] == f"{result['made_with']}; cpu, the rest was not recorded"


def test_a_trial_takes_the_keys_that_it_is_given(baseline: tuple[Path, list[Record], dict], tmp_path: Path) -> None:
    root, _, result = baseline
    given = stage_keys(_config(), data.about(_config().data), {"ddpm": "accepted"})
    assert not set(given.values()) & set(result["artefacts"].values()) - {result["artefacts"]["reference"]}
    shutil.copytree(_artefact(root, result, "ddpm"), tmp_path / "ddpm" / given["ddpm"])
    *_, last = run_trial(_config(), Store(tmp_path), keys=given)
    assert last.result is not None
    assert last.result["artefacts"] == given
    assert last.result["metrics"] == result["metrics"]


def test_what_a_key_does_not_stand_for_is_not_made_under_it(tmp_path: Path) -> None:
    """A trial may start hours after its study, and much can be edited meanwhile."""
    given = {stage: f"{key}0" for stage, key in stage_keys(_config(), data.about(_config().data)).items()}
    with pytest.raises(Changed, match="the code has been changed since the study was started"):
        list(run_trial(_config(), Store(tmp_path / "store"), keys=given))
    assert not (tmp_path / "store" / "ddpm").exists()

    for i in range(10):
        pixels = np.full((8, 8), i, np.uint8)
        for part in ("images", "masks"):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "data" / part / f"{i}.png")
    config = _config(
        data__dataset="folder", stages=("segmentation",), segmentation__features="pixels",
        segmentation__label_images=1, segmentation__validation_images=1,
    )  # fmt: skip
    planned = stage_keys(config, data.about(config.data, tmp_path / "data"))
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "data" / "images" / "0.png")
    with pytest.raises(Changed, match="the data have been changed"):
        list(run_trial(config, Store(tmp_path / "store"), inputs=Inputs(tmp_path / "data"), keys=planned))
    assert not (tmp_path / "store" / "segmentation").exists()


def test_another_seed_gives_other_figures(baseline: tuple[Path, list[Record], dict], tmp_path: Path) -> None:
    other = _run(_config(seed=1), tmp_path)[1]["metrics"]
    # The segmentation's may agree: after so little training a classifier may see nothing but background.
    same = {name for name in FID if other[name] == baseline[2]["metrics"][name]}
    assert same == {"samples", "reference_images"}


def test_records_tell_the_stages_in_order_and_the_loss_curve_again(
    baseline: tuple[Path, list[Record], dict],
) -> None:
    root, records, _ = baseline
    seen = list(dict.fromkeys(r.stage for r in records))
    assert seen == STAGES
    assert all(r.result is None and 0 <= r.step <= r.steps for r in records)
    for stage, logged in (("ddpm", [(1, 3), (2, 3), (3, 3)]), ("segmentation", [(8, 8)])):
        told = [(r.step, r.metrics) for r in records if r.stage == stage and r.metrics]
        assert [(r.step, r.steps) for r in records if r.stage == stage and r.metrics] == logged
        again, _ = _run(_config(), root)
        assert [entry for r in again if r.stage == stage for entry in r.history] == told
        assert not [r for r in again if r.metrics]


def test_samples_are_drawn_from_the_ema_of_the_training(
    baseline: tuple[Path, list[Record], dict], tmp_path: Path
) -> None:
    root, _, result = baseline
    trainer = Trainer(_config(), data.load(_config().data).train)
    list(trainer.run())
    stored, expected = load_file(_artefact(root, result, "ddpm") / "ema.safetensors"), trainer.ema.state_dict()
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], value) for name, value in expected.items())
    nothing = Checkpoints(Store(tmp_path), "samples", "none", 1e9)
    making = draw(_config(), trainer.ema, torch.Size((1, 8, 8)), torch.device("cpu"), nothing)
    while True:
        try:
            next(making)
        except StopIteration as done:
            drawn = done.value
            break
    assert np.array_equal(np.load(_artefact(root, result, "samples") / "samples.npy"), drawn.samples(2))
    assert drawn.samples(2).shape == (2, 20, 1, 8, 8)
    strip = np.load(_artefact(root, result, "samples") / "denoising.npz")
    assert np.array_equal(strip["frames"], np.stack(drawn.frames))
    assert strip["timesteps"].tolist() == drawn.timesteps


def test_fid_is_the_mean_over_the_repeats_against_the_training_images(
    baseline: tuple[Path, list[Record], dict],
) -> None:
    root, _, result = baseline
    networks, metrics = fid.extractors(["fid_digits"], torch.device("cpu")), ["fid_digits"]
    how = How(seed=0, nearest_k=5, device=torch.device("cpu"))

    def features(images: Tensor) -> Any:
        making = fid.extracted(networks, images)
        while True:
            try:
                next(making)
            except StopIteration as end:
                return end.value

    real = fid.Reference.of(features(data.load(_config().data).train), metrics, how)
    samples = torch.from_numpy(np.load(_artefact(root, result, "samples") / "samples.npy"))
    values = [fid.distances(metrics, features(images), real, how)["fid_digits"] for images in samples]
    stored = json.loads((_artefact(root, result, "fid") / "repeats.json").read_text())
    assert stored["fid_digits"] == pytest.approx(values)
    assert result["metrics"]["samples"] == 20
    assert result["metrics"]["fid_digits"] == pytest.approx(sum(values) / 2)
    assert result["metrics"]["fid_digits_repeats_sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)


def test_segmentation_is_scored_on_every_held_out_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions: list[pixel_classifier.Prediction] = []

    def spied(self: pixel_classifier.Ensemble, *args: Any) -> pixel_classifier.Prediction:
        predictions.append(original(self, *args))
        return predictions[-1]

    original = pixel_classifier.Ensemble.predict
    monkeypatch.setattr(pixel_classifier.Ensemble, "predict", spied)
    # Enough training for more than one class to be predicted.
    better = {"segmentation__label_images": 50, "segmentation__epochs": 3, "segmentation__learning_rate": 0.01}
    config = apply(_config(**better), CONTROLS["raw_pixels"])
    _, result = _run(config, tmp_path)
    predictions = predictions[config.segmentation.validation_images :]  # those of validation_miou come first
    truth, predicted = data.load(config.data).held_out_masks, torch.stack([p.classes for p in predictions])
    expected = jaccard_score(truth.flatten(), predicted.flatten(), labels=range(11), average=None)
    iou = json.loads((_artefact(tmp_path, result, "segmentation") / "iou.json").read_text())
    assert list(iou) == CLASSES
    assert list(iou.values()) == pytest.approx(expected.tolist())
    by_class = {name: value for name, value in result["metrics"].items() if name.startswith("iou/")}
    assert by_class == {f"iou/{name}": value for name, value in iou.items()}
    # A pixel's own value tells ink from background, whatever the digit: the predictions are of these images.
    assert float(((truth > 0) == (predicted > 0)).float().mean()) > 0.95
    assert result["metrics"]["miou"] == pytest.approx(expected.mean())
    assert result["metrics"]["pixel_accuracy"] == pytest.approx(float((truth == predicted).float().mean()))
    assert result["metrics"]["uncertainty"] == pytest.approx(np.mean([p.uncertainty for p in predictions]))
    shown = np.load(_artefact(tmp_path, result, "segmentation") / "masks.npz")
    assert np.array_equal(shown["disagreement"][0], predictions[0].disagreement.numpy())
    assert np.array_equal(shown["predicted"], predicted[: len(shown["predicted"])].numpy())
    assert np.array_equal(shown["truth"], truth[: len(shown["truth"])].numpy())
    assert len(shown["images"]) == len(shown["predicted"]) == len(shown["truth"]) == 8


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The masks that each trial's classifier is trained on, which then stops the trial."""
    masks: list[Tensor] = []

    def spied(labelled: pixel_classifier.Labelled, *args: object) -> None:
        masks.append(labelled.masks)
        raise KeyboardInterrupt

    monkeypatch.setattr(pixel_classifier, "Trainer", spied)
    return masks


@pytest.mark.parametrize("weights", ["random", "checkpoint"])
def test_a_pretrained_network_of_colours_takes_grey_images(weights: str, tmp_path: Path) -> None:
    """The digits are grey; every network of guided-diffusion's takes three channels."""
    settings = Pretrained(
        num_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_resolutions=(4,), num_head_channels=16
    )
    path = tmp_path / "network.pt"
    if weights == "checkpoint":
        torch.save(random_unet(settings, 3, 8, 0, torch.device("cpu")).state_dict(), path)
        weights = check_checkpoint(path, settings, 3, 8).sha256
    pretrained = settings.model_copy(update={"weights": weights})
    wanted = _config(stages=("segmentation",)).model_copy(update={"pretrained": pretrained})
    config = apply(wanted, {"segmentation.blocks": (1, 3)})
    *_, last = run_trial(config, Store(tmp_path / "store"), inputs=Inputs(checkpoint=path))
    assert last.result is not None and last.result["metrics"]["miou"] > 0


def test_a_folder_of_images_without_masks_gives_its_distances(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(30):
        Image.fromarray(draw.integers(0, 256, (9, 11), np.uint8)).save(tmp_path / f"{i}.png")
    config = _config(data__dataset="folder", stages=("fid",))
    figures = {}
    for name, changes in {"baseline": {}, "real_images": CONTROLS["real_images"] | {"sampling.samples": 6}}.items():
        *_, last = run_trial(apply(config, changes), Store(tmp_path / "store"), inputs=Inputs(tmp_path))
        figures[name] = last.result["metrics"]
    assert set(figures["baseline"]) == FID and set(figures["real_images"]) == ONE_SET
    assert figures["baseline"]["reference_images"] == 24
    assert all(np.isfinite(value) for of in figures.values() for value in of.values())


@pytest.mark.parametrize("masked", [False, True])
def test_an_npz_gives_what_its_arrays_allow(masked: bool, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 9, 11, 1), np.uint8)
    masks = {"masks": (images[..., 0] > 100).astype(np.uint8)} if masked else {}
    np.savez(tmp_path / "mine.npz", images=images, **masks)
    config = _config(data__dataset="folder", stages=("fid", "segmentation") if masked else ("fid",))
    *_, last = run_trial(config, Store(tmp_path / "store"), inputs=Inputs(tmp_path / "mine.npz"))
    assert set(last.result["metrics"]) >= FID
    assert ("iou/class 1" in last.result["metrics"]) == masked
    assert last.result["metrics"]["reference_images"] == (18 if masked else 24)


def test_label_images_are_paired_by_seed(labelled: list[Tensor], tmp_path: Path) -> None:
    trials = [("baseline", 0), ("cosine", 0), ("raw_pixels", 0), ("baseline", 1)]
    for name, seed in trials:
        config = apply(_config(seed=seed, stages=("segmentation",)), (VARIANTS | CONTROLS)[name])
        with pytest.raises(KeyboardInterrupt):
            _run(config, tmp_path)
    first, *paired, other = labelled
    assert len(first) == 4
    assert all(torch.equal(first, masks) for masks in paired)
    assert not torch.equal(first, other)


SCORED = [188, 202, 216, 258, 276, 348, 353]  # of the 500 held-out digits, whatever the machine


def test_fewer_held_out_images_are_the_same_for_every_seed(tmp_path: Path) -> None:
    shown = []
    for seed in (0, 1):
        config = apply(_config(seed=seed, segmentation__held_out_images=7), CONTROLS["raw_pixels"])
        records, result = _run(config, tmp_path)
        assert max(r.steps for r in records if r.stage == "segmentation" and r.steps != 8) == 7
        shown.append(np.load(_artefact(tmp_path, result, "segmentation") / "masks.npz")["images"])
    assert len(shown[0]) == 7
    assert np.array_equal(*shown)
    number_of = {image.numpy().tobytes(): number for number, image in enumerate(data.load(config.data).held_out)}
    assert [number_of[image.tobytes()] for image in shown[0]] == SCORED


def test_reference_rule_is_measured_on_request(tmp_path: Path) -> None:
    config = apply(_config(segmentation__miou_rules=("void_masked", "reference")), CONTROLS["raw_pixels"])
    _, result = _run(config, tmp_path)
    # No pixel of the digits is void and every class occurs, so the rules agree.
    assert result["metrics"]["miou_reference"] == pytest.approx(result["metrics"]["miou"])


def test_real_images_are_drawn_from_the_held_out_ones_without_repeats(tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        _, result = _run(apply(_config(seed=seed), CONTROLS["real_images"]), tmp_path)
        samples = np.load(_artefact(tmp_path, result, "samples") / "samples.npy")
        assert samples.shape == (1, 20, 1, 8, 8)
        drawn.append({image.tobytes() for image in samples[0]})
    held_out = {image.tobytes() for image in data.load(_config().data).held_out.numpy()}
    assert [len(images) for images in drawn] == [20, 20]
    assert drawn[0] | drawn[1] <= held_out
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("overrides", "remade"),
    [
        ({"segmentation__epochs": 2}, ["segmentation"]),
        ({"sampling__sampler": "ddpm"}, ["samples", "fid"]),
        ({"training__train_steps": 2}, [stage for stage in STAGES if stage != "reference"]),
    ],
)
def test_changed_setting_makes_only_the_stages_that_read_it(
    overrides: dict[str, Any], remade: list[str], baseline: tuple[Path, list[Record], dict]
) -> None:
    root, _, result = baseline
    before = _state(root)
    _, other = _run(_config(**overrides), root)
    after = _state(root)
    assert before.items() <= after.items()
    new = {path.split("/")[0] for path in after.keys() - before.keys()}
    assert sorted(new, key=STAGES.index) == remade
    assert {s for s in STAGES if other["artefacts"][s] != result["artefacts"][s]} == set(remade)


@pytest.mark.parametrize(
    ("broken", "before"),
    [
        ("trainables.training.Trainer", []),
        ("safetensors.torch.save", []),  # while the files are being written
        ("trainables.sampling.draw", ["ddpm"]),
        ("trainables.evaluation.fid.Reference.of", ["ddpm", "samples"]),
        ("trainables.evaluation.fid.distances", ["ddpm", "samples", "reference"]),
        ("trainables.evaluation.pixel_classifier.Trainer", ["ddpm", "samples", "reference", "fid"]),
    ],
)
def test_stage_that_fails_leaves_no_artefact_and_the_next_run_goes_on_from_there(
    broken: str, before: list[str], tmp_path: Path, baseline: tuple[Path, list[Record], dict]
) -> None:
    def fails(*_args: object) -> None:
        raise RuntimeError("out of luck")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broken, fails)
        with pytest.raises(RuntimeError, match="out of luck"):
            _run(_config(), tmp_path)
    assert _made(tmp_path) == before
    written = _state(tmp_path)
    assert _run(_config(), tmp_path)[1]["metrics"] == baseline[2]["metrics"]
    assert written.items() <= _state(tmp_path).items()


@pytest.mark.parametrize("stage", STAGES)
def test_trial_that_is_given_up_leaves_no_half_artefact(stage: str, tmp_path: Path) -> None:
    trial = run_trial(_config(), Store(tmp_path))
    for record in trial:
        if record.stage == stage:
            break
    trial.close()
    assert _made(tmp_path) == STAGES[: STAGES.index(stage)]


def test_divergence_comes_out_of_the_trial(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"at step \d+: the loss is"):
        _run(_config(training__learning_rate=1e30, training__train_steps=300, training__warmup_steps=0), tmp_path)
    assert _made(tmp_path) == []


def test_damaged_model_is_made_again_and_what_came_from_it_is_not(
    baseline: tuple[Path, list[Record], dict], tmp_path: Path
) -> None:
    _, result = _run(_config(), tmp_path)
    model = _artefact(tmp_path, result, "ddpm") / "ema.safetensors"
    content, before = model.read_bytes(), _state(tmp_path)
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match="damaged artefact ddpm"):
        _, again = _run(_config(), tmp_path)
    assert again["metrics"] == baseline[2]["metrics"]
    assert model.read_bytes() == content
    rewritten = {p for p, at in _state(tmp_path).items() if p in before and before[p] != at}
    assert {path.split("/")[0] for path in rewritten} == {"ddpm"}


@pytest.mark.filterwarnings("ignore:damaged artefact")
def test_store_that_gives_back_something_else_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makings = []
    original = Store._publish

    def spoilt(self: Store, folder: Path, path: str) -> None:
        makings.append(path)
        assert len(makings) < 4, "made three times in vain"
        original(self, folder, path)
        (Path(path) / "history.json").write_bytes(b"")

    monkeypatch.setattr(Store, "_publish", spoilt)
    with pytest.raises(OSError, match="ddpm"):
        _run(_config(), tmp_path)


def test_trial_needs_neither_ray_nor_mlflow(tmp_path: Path) -> None:
    code = f"""
import sys
from search_spaces.presets import quick
from trainables.config import apply
from trainables.pipeline import run_trial
from trainables.store import Store

*_, last = run_trial(apply(quick(), {TINY!r}), Store({str(tmp_path)!r}))
assert last.result["metrics"].keys() == {FID | SEGMENTATION!r}, last
assert not {{"ray", "mlflow"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
