"""The study files of the documents: each plans, and is the study that a command of words alone was."""

import shlex

import pytest

from orchestrator import arguments
from orchestrator.planning import plan
from orchestrator.planning.study_file import space_of
from orchestrator.run import main
from search_spaces.spaces import SPACES
from trainables.data import About

COLOUR, GREY = About(3, ("a", "b"), 400, 200, 200, "of no files"), About(1, ("a", "b"), 900, 300, 900, "of no files")
SMALL = """
    --set unet.base_channels=32 --set unet.channel_mults=[1,2,4] --set unet.blocks_per_level=1
    --set training.train_steps=1500 --set training.batch_size=32 --set training.learning_rate=1e-3
    --set training.warmup_steps=100 --set training.final_learning_rate=0.05 --set training.ema_decay=0.995
    --set segmentation.blocks=[5,6,7]
"""
SMALLER = """
    --set unet.base_channels=16 --set unet.channel_mults=[1,2,2] --set unet.blocks_per_level=1
    --set unet.attention_resolutions=[8] --set training.batch_size=64 --set training.learning_rate=2e-3
    --set training.warmup_steps=50 --set training.final_learning_rate=0.05 --set training.ema_decay=0.99
    --set training.precision=fp32 --set segmentation.blocks=[5,6,7] --set segmentation.held_out_images=200
    --set segmentation.epochs=10 --set segmentation.batch_size=256 --set segmentation.learning_rate=2e-3
"""
# The words that stood in the documents, by which the studies there were run.
WORDS = {
    "camvid-mixed": f"""
        segmentation --preset paper --dataset folder {SMALL} --set unet.attention_resolutions=[8]
        --variants by_image one_member early_timesteps late_timesteps one_timestep fast_learning
        --variant "labels_70: segmentation.label_images=70" --variant "longer_classifier: segmentation.epochs=40"
        --variant "labels_70_longer: segmentation.label_images=70, segmentation.epochs=20"
        --variant "short_300: training.train_steps=300" --variant "coarsest_block: segmentation.blocks=[5]"
        --variant "finest_block: segmentation.blocks=[7]"
        --variant "untrained_70: training.train_steps=0, segmentation.label_images=70"
        --variant "pixels_70: segmentation.features=pixels, segmentation.label_images=70"
        --heat-map 10 50 150 250 500 --seeds 0 1 2 --name camvid-mixed
    """,
    "camvid": f"""
        segmentation --preset paper --dataset voc {SMALL} --set unet.attention_resolutions=[8] --variants baseline
        --heat-map --name camvid
    """,
    "camvid-16": f"""
        segmentation --preset paper --dataset folder {SMALL} --set unet.attention_resolutions=[4]
        --set data.image_size=16 --set segmentation.label_images=70 --variants baseline --heat-map --seeds 0 1 2
        --name camvid-16
    """,
    "mnist": f"""
        segmentation --preset paper --dataset mnist {SMALLER} --set training.train_steps=300 --variants baseline
        --heat-map --seeds 0 1 2 --name mnist --variant "labels_100: segmentation.label_images=100"
        --variant "short_100: training.train_steps=100"
    """,
    "table-1-reduced": f"""
        ablations --preset paper --seeds 0 1 2 --name table-1-reduced {SMALLER} --set training.train_steps=600
        --set sampling.sampler=ddim --set sampling.sampling_steps=25 --set sampling.samples=500
        --set sampling.batch_size=250 --set fid.metrics=[fid_digits]
    """,
}


def test_every_file_is_compared_with_the_words_of_before(root):
    assert {path.stem for path in (root / "docs" / "studies").iterdir()} == set(WORDS)


@pytest.mark.parametrize("name", WORDS)
def test_a_file_is_the_study_that_the_words_were(name, root):
    path = root / "docs" / "studies" / f"{name}.yaml"
    facts = COLOUR if "camvid" in name else GREY
    old, new = (
        plan.build(arguments.request(args, SPACES[args.command], args.seeds), facts)
        for words in (shlex.split(WORDS[name]), [space_of(path).name, str(path)])
        for args in [arguments.parser().parse_args(words)]
    )
    assert new.name == old.name == name
    assert new.baseline == old.baseline
    assert {t.name: t.key for t in new.trials} == {t.name: t.key for t in old.trials}
    assert new.trials == old.trials


@pytest.mark.parametrize(("name", "data"), [("camvid", "camvid"), ("mnist", "mnist"), ("table-1-reduced", "mnist")])
def test_a_file_plans_on_the_data_that_it_is_of(name, data, root, real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = root / "docs" / "studies" / f"{name}.yaml"
    words = [space_of(path).name, str(path), "--data-root", str(real_data / data), "--dry-run"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"study {name} (preset paper)" in out
    assert "baseline-seed0" in out
