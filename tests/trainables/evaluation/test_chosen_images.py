"""Which images a trial labels, validates on and scores."""

from __future__ import annotations

import pytest

from trainables.evaluation.chosen_images import labelled, scored
from trainables.sections import Segmentation

SETTINGS = Segmentation(label_images=5, validation_images=3, held_out_images=4)


def test_labelled_and_validated_are_of_the_pool_and_none_twice() -> None:
    trained, validated = (chosen.tolist() for chosen in labelled(12, SETTINGS, seed=0))
    assert (len(trained), len(validated)) == (5, 3)
    assert len({*trained, *validated} & set(range(12))) == 8


def test_another_seed_labels_others_and_the_same_seed_the_same() -> None:
    chosen = [tuple(labelled(100, SETTINGS, seed)[0].tolist()) for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) == 3


def test_more_labels_add_to_fewer() -> None:
    more = SETTINGS.model_copy(update={"label_images": 8})
    assert labelled(12, more, 0)[0].tolist()[:5] == labelled(12, SETTINGS, 0)[0].tolist()


def test_without_images_left_there_is_no_validation() -> None:
    assert [len(chosen) for chosen in labelled(6, SETTINGS, 0)] == [5, 1]
    assert [len(chosen) for chosen in labelled(5, SETTINGS, 0)] == [5, 0]


@pytest.mark.parametrize("images", [1, 3, 4])
def test_all_are_scored_where_there_are_no_more(images: int) -> None:
    assert scored(images, SETTINGS).tolist() == list(range(images))


def test_of_more_some_are_scored_in_their_order() -> None:
    chosen = scored(50, SETTINGS).tolist()
    assert len(set(chosen)) == 4
    assert chosen == sorted(chosen) != list(range(4))
    assert set(chosen) <= set(range(50))
