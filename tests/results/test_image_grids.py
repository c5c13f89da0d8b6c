"""Grids of images as drawn: the pixels that were given are the pixels that are seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from results.image_grids import MAX_MASKS, MAX_TILES, copies, denoising_strip, masks, palette, sample_grid
from tests.results.drawn import pixels_of

GREEN = (60, 180, 75)  # class 1
WRONG = (255, 40, 40)


def _images(n: int, channels: int, size: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (n, size, size, channels)).astype(np.uint8)


def _tile(pixels: np.ndarray, row: int, column: int, side: int, top: int = 0) -> np.ndarray:
    y, x = top + row * (side + 2), column * (side + 2)  # 2 pixels of gap
    return pixels[y : y + side, x : x + side]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_of_a_grid_is_a_crisp_square_of_its_colour(channels: int) -> None:
    images = _images(6, channels)
    pixels = pixels_of(sample_grid(images, columns=4))
    side = (pixels.shape[1] - 3 * 2) // 4
    scale = side // 4
    for i, image in enumerate(images):
        enlarged = np.broadcast_to(image, (4, 4, 3)).repeat(scale, 0).repeat(scale, 1)
        assert np.array_equal(_tile(pixels, i // 4, i % 4, side), enlarged)


def test_a_grid_that_is_rendered_larger_gets_no_colours_in_between() -> None:
    images = _images(4, 3)
    figure = sample_grid(images, columns=2)
    figure.set_dpi(figure.dpi * 2)
    given = {tuple(colour) for colour in images.reshape(-1, 3).tolist()} | {(255, 255, 255)}
    assert {tuple(colour) for colour in pixels_of(figure).reshape(-1, 3).tolist()} == given


def test_a_grids_unfilled_tiles_and_gaps_are_white() -> None:
    pixels = pixels_of(sample_grid(_images(5, 1), columns=4))
    side = (pixels.shape[1] - 3 * 2) // 4
    assert (_tile(pixels, 1, 1, side) == 255).all()
    assert (pixels[:side, side : side + 2] == 255).all()


def test_a_grid_stops_at_its_largest_number_of_tiles() -> None:
    pixels = pixels_of(sample_grid(_images(MAX_TILES + 40, 1), columns=16))
    side = (pixels.shape[1] - 15 * 2) // 16
    assert pixels.shape[0] == MAX_TILES // 16 * (side + 2) - 2


@pytest.mark.parametrize("names", [("$\\frac$", "$$"), ("$5 note", "$10 note"), ("_hidden", "a_{b}^c")])
def test_a_class_is_called_what_it_is_called(names: tuple[str, str]) -> None:
    labels = np.zeros((1, 4, 4), dtype=int)
    labels[0, :2] = 1
    figure = masks(_images(1, 3), labels, labels, names)
    pixels_of(figure)  # drawing is where a formula would be read
    texts = figure.legends[0].get_texts()
    assert [text.get_text() for text in texts[:2]] == list(names)
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 2), (0, 8, 8, 1)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8 images"):
        sample_grid(np.zeros(shape, dtype=np.uint8))


def test_float_images_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        sample_grid(np.zeros((1, 8, 8, 1), dtype=np.float32))


def test_a_strip_has_a_row_an_image_a_column_a_timestep_and_their_titles() -> None:
    steps, images = 3, 2
    frames = np.zeros((steps, images, 8, 8, 1), dtype=np.uint8)
    frames += np.arange(steps * images, dtype=np.uint8).reshape(steps, images, 1, 1, 1) * 30
    figure = denoising_strip(frames, [999, 500, 0])
    assert [text.get_text() for text in figure.texts] == ["t=999", "t=500", "t=0"]
    pixels = pixels_of(figure)
    side = (pixels.shape[1] - 2 * 2) // steps
    top = pixels.shape[0] - (images * (side + 2) - 2)
    for step in range(steps):
        for image in range(images):
            assert (_tile(pixels, image, step, side, top) == frames[step, image, 0, 0, 0]).all()


def test_a_strip_needs_a_frame_for_every_timestep() -> None:
    with pytest.raises(ValueError, match="one a timestep"):
        denoising_strip(np.zeros((3, 2, 8, 8, 1), dtype=np.uint8), [999, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_stands_above_its_nearest_training_image_and_both_below_their_ratio(channels: int) -> None:
    samples, nearest = _images(3, channels, 8), 255 - _images(3, channels, 8)
    figure = copies(samples, nearest, [0.0, 0.514, 1.3])
    *ratios, caption = [text.get_text() for text in figure.texts]
    assert ratios == ["0.00", "0.51", "1.30"]
    assert caption.startswith("above samples, below the nearest training image")
    pixels = pixels_of(figure)
    side = (pixels.shape[1] - 2 * 2) // 3
    for row, images in enumerate((samples, nearest)):
        for column in range(3):
            enlarged = np.broadcast_to(images[column], (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
            assert np.array_equal(_tile(pixels, row, column, side, top=22), enlarged)


def test_copies_need_as_many_images_of_each() -> None:
    with pytest.raises(ValueError, match="differ"):
        copies(_images(3, 1), _images(2, 1), [0.1, 0.2, 0.3])


def _masks(n: int = 1, disagreement: np.ndarray | None = None) -> tuple[Figure, np.ndarray]:
    """A 4x4 truth of background over class 1 with one ignored pixel; the prediction misses one pixel of each."""
    truth = np.zeros((n, 4, 4), dtype=np.int64)
    truth[:, 2:] = 1
    predicted = truth.copy()
    truth[:, 0, 0] = 255
    predicted[:, 0, 0] = 1  # ignored: not a difference
    predicted[:, 1, 1] = 1
    predicted[:, 3, 3] = 0
    images, names = np.full((n, 4, 4, 1), 100, dtype=np.uint8), ["background", "digit", "other"]
    figure = masks(images, truth, predicted, names, disagreement=disagreement)
    return figure, pixels_of(figure)


def _panel(pixels: np.ndarray, column: int, row: int = 0, columns: int = 4) -> np.ndarray:
    """The middle of each of the 4x4 image pixels of a panel: (4, 4, 3)."""
    side = (pixels.shape[1] - (columns - 1) * 2) // columns
    cell = side // 4
    return _tile(pixels, row, column, side, top=22)[cell // 2 :: cell, cell // 2 :: cell]


def test_classes_have_their_colours_in_truth_and_prediction() -> None:
    _, pixels = _masks()
    image, truth, predicted = (_panel(pixels, column) for column in range(3))
    assert (image == 100).all()
    assert (truth[2:] == GREEN).all()
    assert (truth[1] == palette(1)[0]).all()
    assert (predicted[1, 1] == GREEN).all()
    assert (predicted[3, 3] == palette(1)[0]).all()


def test_ignored_pixels_are_striped_in_two_greys() -> None:
    _, pixels = _masks()
    side = (pixels.shape[1] - 3 * 2) // 4
    ignored = _tile(pixels, 0, 1, side, top=22)[: side // 4, : side // 4].reshape(-1, 3)
    assert {tuple(colour) for colour in ignored.tolist()} == {(120, 120, 120), (172, 172, 172)}


def test_only_pixels_with_a_truth_can_differ() -> None:
    _, pixels = _masks()
    wrong = (_panel(pixels, 3) == WRONG).all(-1)
    assert np.argwhere(wrong).tolist() == [[1, 1], [3, 3]]


def test_the_legend_names_the_classes_that_are_there_and_fits_in_the_figure() -> None:
    figure, _ = _masks()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["background", "digit", "ignored", "differs"]
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    panels_bottom = figure.axes[0].get_window_extent().y0
    assert 0 <= box.y0 < box.y1 <= panels_bottom


def test_masks_have_four_titled_columns_and_at_most_eight_rows() -> None:
    figure, pixels = _masks(MAX_MASKS + 3)
    assert [text.get_text() for text in figure.texts] == ["image", "truth", "prediction", "where they differ"]
    panels = figure.axes[0].get_window_extent()
    side = (pixels.shape[1] - 3 * 2) // 4
    assert round(panels.height) == MAX_MASKS * (side + 2) - 2


def test_masks_refuse_labels_that_are_no_class_or_of_another_shape() -> None:
    images, labels = np.zeros((1, 4, 4, 1), dtype=np.uint8), np.zeros((1, 4, 4), dtype=np.int64)
    with pytest.raises(ValueError, match=r"below 2 or 255, but got \[7\]"):
        masks(images, labels, labels + 7, ["background", "digit"])
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4\)"):
        masks(images, labels, labels[:, :3], ["background", "digit"])


def test_disagreement_is_a_fifth_column_in_colours_that_do_not_depend_on_the_picture() -> None:
    nats = np.zeros((2, 4, 4))
    nats[0, 0] = (0, math.log(2), 5, math.nan)
    nats[:, 1] = (0.1, 0.2, 0.4, 0.6)
    nats[1, 3, 3] = -1e-9  # rounding
    figure, pixels = _masks(2, nats.astype(np.float32))
    assert [text.get_text() for text in figure.texts][4:] == ["disagreement"]
    first, second = (_panel(pixels, 4, row, columns=5).astype(int) for row in (0, 1))
    black, full, more, none = first[0]
    assert black.max() <= 12
    assert full.min() == more.min() == 255
    assert none.tolist() == [120] * 3  # no number: on no place of the scale
    assert (first[1] == second[1]).all()
    assert (np.diff(first[1].sum(-1)) > 60).all()  # the more, the brighter
    assert (first[1][:, 0] >= first[1][:, 1]).all() and (first[1][:, 1] >= first[1][:, 2]).all()  # red to white
    assert (second[3, 3] == black).all()


def test_the_other_columns_are_the_same_with_a_disagreement() -> None:
    (_, without), (figure, pixels) = _masks(), _masks(1, np.zeros((1, 4, 4)))
    for column in range(4):
        assert (_panel(pixels, column, columns=5) == _panel(without, column)).all()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][-3:] == ["differs", "disagreement 0", "disagreement ln 2"]
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_a_disagreement_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4\), but got \(1, 4, 2\)"):
        _masks(1, np.zeros((1, 4, 2)))


def test_colours_differ_visibly_and_do_not_depend_on_the_number_of_classes() -> None:
    many = palette(34).astype(int)
    assert (palette(11) == many[:11]).all()
    first = np.vstack([many[:17], [WRONG], [(120, 120, 120)], [(172, 172, 172)]])
    distance = np.abs(first[:, None] - first[None]).sum(-1) + 1000 * np.eye(len(first))
    assert distance.min() >= 60  # of 765
    assert len(np.unique(many, axis=0)) == 34
