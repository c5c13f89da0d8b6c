"""The paragraph on methods says what the records say."""

from __future__ import annotations

import pandas as pd

from results import methods
from results.metrics import METRICS, REQUESTED_METRICS
from tests.results.studies import digits_study, trial, with_trials

SETTINGS = {
    "data.dataset": "digits", "data.image_size": "16", "pretrained": "None",
    "training.train_steps": "1200", "training.batch_size": "64", "training.learning_rate": "0.002",
    "diffusion.timesteps": "1000", "diffusion.beta_schedule": "linear",
    "sampling.sampler": "ddim", "sampling.sampling_steps": "25", "sampling.sampling_repeats": "3",
    "sampling.samples": "500", "segmentation.ensemble_size": "10", "segmentation.label_images": "100",
    "segmentation.blocks": "[5, 6, 7]", "segmentation.timesteps": "[50, 150, 250]",
}  # fmt: skip
SHOWN = (METRICS[0], METRICS[3])


def _study(seeds: int = 3) -> pd.DataFrame:
    trials = digits_study(seeds)
    for name, value in SETTINGS.items():
        trials[f"params.{name}"] = value
    trials["samples"], trials["reference_images"], trials["scored_images"] = 500.0, 1097.0, 500.0
    trials["machine"], trials["made_with"], trials["git_commit"] = (
        "node-1, cpu",
        "cpu, 1 thread, torch 2.15.0",
        "a" * 40,
    )
    return trials


def test_the_sentences_name_counts_settings_metrics_and_versions() -> None:
    told = methods.methods(_study(), SHOWN)
    assert told == [
        "2 variants were compared with the baseline on 3 seeds (0, 1, 2); seed k of every variant begins from the "
        "same data order, noise and label split.",
        "The control was held-out.",
        "The data were digits at 16x16 pixels.",
        "The baseline was trained for 1200 steps of 64 images at a learning rate of 0.002, with T = 1000 and the "
        "linear schedule; each variant differs from it in what the table says.",
        "From each model 3 sets of 500 images were sampled by ddim in 25 steps; figures are means over the sets of "
        "one model.",
        "An ensemble of 10 pixel classifiers was trained on features of 100 labelled images, from the blocks 5, 6, 7 "
        "at t = 50, 150, 250.",
        "fid_digits is the Frechet distance between Gaussians fitted to 64 features of 500 samples and of 1097 real "
        "images, by a fixed classifier of grey digits; lower is better.",
        "miou is the mean intersection over union over the classes that occur in the truth of 500 held-out images, "
        "void pixels left out; higher is better.",
        methods.STATISTICS,
        "3 seeds were planned before there were results.",
        "All finished trials took 22 m 24 s (node-1, cpu).",
        "Made with cpu, 1 thread, torch 2.15.0.",
        f"The code is diffusion-ablations at commit {'a' * 12}.",
    ]


def test_one_seed_and_what_did_not_finish_are_said() -> None:
    failed = trial("cosine", 0, 2, status="FAILED")
    trials = _study(seeds=1)
    told = methods.methods(with_trials(trials[trials["variant"] != "cosine"], failed), SHOWN)
    assert methods.FEW_SEEDS in told and methods.STATISTICS not in told
    assert "1 of 4 trials did not finish and are in no mean." in told
    assert told[0] == "2 variants were compared with the baseline on 1 seed (0)."


def test_what_the_records_do_not_say_is_left_out() -> None:
    told = methods.methods(digits_study(), SHOWN[:1])
    assert len(told) == 6
    assert "features of some samples" in told[2]  # no count was recorded
    assert methods.methods(digits_study().iloc[:0], SHOWN) == []


def test_counts_that_differ_are_a_range() -> None:
    trials = _study()
    trials.loc[trials["variant"] == "cosine", "samples"] = 250.0
    assert any("of 250 to 500 samples" in sentence for sentence in methods.methods(trials, SHOWN))


def test_every_metric_that_can_be_asked_for_is_defined_with_its_network_and_k() -> None:
    trials = _study()
    trials["params.fid.nearest_k"] = "5"
    told = methods.methods(trials, REQUESTED_METRICS)
    for metric in REQUESTED_METRICS:
        (sentence,) = [sentence for sentence in told if sentence.startswith(f"{metric.name} is ")]
        assert "{" not in sentence and "500" in sentence
        if "recall" in metric.name:
            assert "1097 real images" in sentence and "its distance to neighbour 5 of its set" in sentence
        network = {"digits": "fixed classifier", "inception": "clean-fid", "dinov2": "ViT-L/14"}
        of_network = network.get(metric.name.rpartition("_")[2], "")
        assert of_network in sentence
