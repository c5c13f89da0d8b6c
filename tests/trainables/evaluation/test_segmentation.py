"""The names of the classes' figures; what is scored is tested with the whole trial, in `test_pipeline`."""

from __future__ import annotations

from trainables.evaluation.segmentation import _by_class


def test_each_class_has_a_figure_under_a_name_of_its_own_that_mlflow_takes() -> None:
    iou = {"sky": 0.5, "a/b": 0.1, "a:b": 0.2, "traffic light-2.0": None, "sky ": 0.3}
    assert _by_class(iou) == {
        "iou/sky": 0.5,
        "iou/a_b": 0.1,
        "iou/a_b 2": 0.2,
        "iou/traffic light-2.0": None,
        "iou/sky ": 0.3,
    }
