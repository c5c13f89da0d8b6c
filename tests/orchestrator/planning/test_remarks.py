"""What the plan says of a trial before its figures."""

from __future__ import annotations

import pytest

from orchestrator.errors import UsageError
from orchestrator.planning import plan
from orchestrator.planning.remarks import remarks, splits
from orchestrator.planning.settings import Request
from search_spaces.presets import quick
from search_spaces.spaces import ABLATIONS, SEGMENTATION
from trainables.config import apply
from trainables.data import About

SHORT = {"diffusion.timesteps": 100, "segmentation.timesteps": (5, 15, 25)}
ABOUT = About(1, ("a", "b"), 1000, 300, 12, "fingerprint")


def said(changes, baseline=None):
    return list(remarks(apply(quick(), changes), baseline or apply(quick(), changes), ABOUT, "digits"))


def test_a_usual_baseline_has_none():
    assert said({}) == []
    assert said(SHORT) == []  # its betas are scaled


def test_a_schedule_that_ends_too_early_is_told():
    (line,) = said(SHORT | {"diffusion.beta_scaling": "none"})
    assert "0.60 of the image's signal is left" in line
    assert said(SHORT | {"diffusion.beta_scaling": "none", "stages": ("segmentation",)}) == []  # nothing is sampled
    assert said({"diffusion.beta_end": 0.005}) != []


def test_the_same_timesteps_of_another_schedule_are_told_as_other_noise():
    cosine = {"diffusion.beta_schedule": "cosine"}
    (line,) = said(cosine, quick())
    assert "t = 50, 150, 250 are of other noise than the baseline's" in line
    assert said({"diffusion.beta_max": 0.9}, quick()) == []  # acts in no linear schedule
    assert said(cosine | {"stages": ("fid",)}, quick()) == []


def test_what_is_no_schedule_makes_no_other_noise():
    assert said({"diffusion.prediction": "v"}, quick()) == []
    (line,) = said({"diffusion.prediction": "v", "diffusion.zero_terminal_snr": True}, quick())
    assert "are of other noise than the baseline's" in line


def test_noise_levels_are_told_with_their_timesteps():
    levels = {"segmentation.noise_levels": (3.5, 0.1)}
    assert said(levels) == ["features at log-SNR 3.5, 0.1, which are its timesteps 49, 249"]
    (line,) = said(levels | {"diffusion.beta_schedule": "cosine"}, apply(quick(), levels))
    assert line.startswith("features at log-SNR 3.5, 0.1, which are its timesteps 102, 479")


def test_the_control_of_real_images_takes_what_there_is_and_says_so(tiny):
    few = plan.build(Request(ABLATIONS, settings=tiny | {"segmentation.label_images": 4}), ABOUT)
    (control,) = (trial for trial in few.trials if trial.variant == "real_images")
    assert control.config.sampling.samples == 12
    assert control.remarks == (
        "the distance of 12 real images, all that are held out, beside 80 samples of the others",
    )
    assert few.left_out == ()


@pytest.mark.parametrize("held_out", [0, 3])
def test_a_control_that_cannot_be_is_left_out_with_a_line_and_vetoes_nothing(tiny, held_out):
    facts = About(1, ("a", "b"), 1000, 300, held_out, "fingerprint")
    study = plan.build(Request(ABLATIONS, settings=tiny), facts)
    assert "real_images" not in {trial.variant for trial in study.trials}
    assert study.left_out == (f"control real_images: digits has {held_out} held-out images, and fid needs 4 at least",)


def test_neighbours_need_one_image_more_than_k(tiny):
    near = tiny | {"fid.metrics": ("fid_digits", "prdc_digits"), "fid.nearest_k": 9}
    few = plan.build(Request(ABLATIONS, settings=near), About(1, ("a", "b"), 1000, 300, 9, "fingerprint"))
    assert few.left_out == ("control real_images: digits has 9 held-out images, and fid needs 10 at least",)
    with pytest.raises(UsageError, match="digits has 9 training images, and fid needs 10 at least"):
        plan.build(Request(ABLATIONS, settings=near), About(1, ("a", "b"), 9, 300, 100, "fingerprint"))


def test_a_variant_of_one_s_own_that_asks_for_too_many_is_refused(tiny):
    mine = ("mine", {"sampling.source": "held_out"})
    with pytest.raises(
        plan.UsageError, match=r"variant mine: sampling\.samples must be at most 12, the held-out images"
    ):
        plan.build(Request(ABLATIONS, settings=tiny, new=[mine]), ABOUT)


@pytest.mark.parametrize(
    ("delta", "twin"),
    [
        ({"training.ema_decay": 0.9999}, "baseline"),
        ({"diffusion.beta_max": 0.9}, "baseline"),
        ({"unet.convnext_expansion": 4}, "baseline"),
        ({"training.warmup_steps": 500, "training.final_learning_rate": 0.1}, "long_warmup"),
        ({"diffusion.beta_schedule": "cosine", "diffusion.beta_start": 1e-3}, "cosine"),
    ],
)
def test_a_variant_that_cannot_differ_is_refused(delta, twin, tiny):
    new = [("long_warmup", {"training.warmup_steps": 500}), ("mine", delta)]
    with pytest.raises(plan.UsageError, match=f"make no use of it; it would repeat {twin}"):
        plan.build(Request(ABLATIONS, settings=tiny, new=new))


def test_a_warm_up_that_the_training_does_not_outlast_is_told():
    long = {"training.train_steps": 20, "training.warmup_steps": 500, "training.learning_rate": 2e-4}
    told = "its training ends after 20 of 500 warmup_steps, at a learning rate of 8e-06 in place of 0.0002"
    assert said(long) == [told]
    assert said(long | {"training.warmup_steps": 20}) == []  # the last step has the whole rate
    assert said(long | {"training.train_steps": 0}) == []
    assert said(long | {"segmentation.features": "pixels", "stages": ("segmentation",)}) == []
    assert said(long | {"sampling.source": "held_out", "stages": ("fid",)}) == []


def test_the_plan_tells_a_remark_once_with_all_that_it_is_of(tiny):
    levels = tiny | {"segmentation.noise_levels": [3.5, 0.1], "training.warmup_steps": 0}
    study = plan.build(Request(ABLATIONS, settings=levels, chosen=["adagn", "cosine"], seeds=[0, 1]))
    assert [line.split(":")[0] for line in study.remarks] == ["baseline, adagn, untrained", "cosine"]


def test_an_untrained_network_is_not_said_to_have_seen_too_little():
    changes = SHORT | {"diffusion.beta_scaling": "none", "training.train_steps": 0}
    assert said(changes) == []


def test_data_without_masks_leave_the_segmentation_out_and_every_row_says_so(tiny):
    unlabelled = About(1, (), 1000, 0, 200, "fingerprint")
    whole = plan.build(Request(ABLATIONS, settings={**tiny, "training.warmup_steps": 0}), unlabelled)
    assert whole.baseline.stages == ("fid",)
    assert {trial.config.stages for trial in whole.trials} == {("fid",)}
    assert "raw_pixels" not in {trial.variant for trial in whole.trials}
    assert whole.remarks == ["all rows: no miou, as the data (digits) have no masks"]
    # It is the study that whoever leaves it out by hand has.
    by_hand = plan.build(
        Request(ABLATIONS, settings={**tiny, "training.warmup_steps": 0, "stages": ["fid"]}), unlabelled
    )
    assert whole.name == by_hand.name
    assert [trial.key for trial in whole.trials] == [trial.key for trial in by_hand.trials]


@pytest.mark.parametrize("stages", [["segmentation"], ["fid", "segmentation"]])
def test_a_segmentation_that_is_asked_for_by_name_needs_masks(stages, tiny):
    unlabelled = About(1, (), 1000, 0, 200, "fingerprint")
    with pytest.raises(UsageError, match=r"^stages must be \[fid\], as of the command ablations: the data"):
        plan.build(Request(ABLATIONS, settings={**tiny, "stages": stages}), unlabelled)
    with pytest.raises(UsageError, match=r"^stages must be \[fid\]"):
        plan.build(Request(SEGMENTATION, settings=tiny), unlabelled)
    with pytest.raises(UsageError, match=r"^variant mine: stages must be \[fid\]"):
        plan.build(Request(ABLATIONS, settings=tiny, new=[("mine", {"stages": stages})]), unlabelled)


def test_the_splits_are_told_with_their_counts():
    assert splits(ABOUT) == "1,312 images (grey): 1,000 to train on, 300 labelled, 12 held out"
    told = "60,000 images (RGB): 50,000 to train on, 10,000 held out, no masks"
    assert splits(About(3, (), 50_000, 0, 10_000, "fingerprint")) == told
