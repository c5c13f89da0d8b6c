"""What is told of a dataset's masks and images before a study: what they hold, and what cannot be classes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables import data
from trainables.data import DataError, Survey, survey
from trainables.sections import Data

DATA = Data(dataset="folder", image_size=8)
SIZE = (60, 48)
PALETTE = [component for i in range(256) for component in (i, 255 - i, i // 2)]


def _blocks(numbers: tuple[int, ...] = (0, 1, 2, 3, 9, 255), seed: int = 0) -> np.ndarray:
    """Areas of 12x12 pixels, as a mask of classes has them, (H, W)."""
    rng = np.random.default_rng(seed)
    areas = rng.choice(np.array(numbers, np.uint8), (SIZE[1] // 12, SIZE[0] // 12))
    return areas.repeat(12, 0).repeat(12, 1)


@pytest.fixture
def blocks_tree(tree: Any) -> Any:
    """Ten images, of which three are labels and three are held out, with masks of the classes 0, 1, 2, 3 and 9."""
    for i in range(10):
        tree.image(f"images/{i}.png", size=SIZE)
        _save(_blocks(seed=i), tree.path(f"masks/{i}.png"))
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        tree.text(f"{split}.txt", *stems)
    return tree


def _save(mask: np.ndarray, path: Path, palette: list[int] | None = None) -> None:
    image = Image.fromarray(mask)
    image.putpalette(PALETTE if palette is None else palette)
    image.save(path)


def _survey(tree: Any) -> Survey:
    found = data.examine(DATA, tree.root, images=False).survey
    assert found is not None
    return found


def _refused(tree: Any) -> list[str]:
    with pytest.raises(DataError) as dry:
        data.examine(DATA, tree.root, images=False)
    with pytest.raises(DataError) as whole:
        data.examine(DATA, tree.root, images=True)
    assert str(dry.value) == str(whole.value)
    return str(dry.value).splitlines()[1:]


def test_pixels_are_counted_as_the_files_have_them(blocks_tree: Any) -> None:
    labels = np.concatenate([_blocks(seed=i).ravel() for i in (4, 5, 6)])
    held_out = np.concatenate([_blocks(seed=i).ravel() for i in (7, 8, 9)])
    found = _survey(blocks_tree)
    assert found.label_pixels == tuple(np.bincount(labels, minlength=256))
    assert found.held_out_pixels == tuple(np.bincount(held_out, minlength=256))
    assert found.remarks == ()


def test_masks_are_gone_through_once(blocks_tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _survey(blocks_tree)
    monkeypatch.setattr(survey, "_survey", lambda *_: pytest.fail("it is in the cache folder"))
    assert _survey(blocks_tree) == first


def test_one_pass_gives_what_about_and_read_give(blocks_tree: Any, looks: Any) -> None:
    found = data.examine(DATA, blocks_tree.root, images=True)
    assert set(looks.hashed.values()) == set(looks.heads.values()) == {1}
    about, arrays = data.read(DATA, blocks_tree.root)
    assert found.about == about
    assert found.arrays is not None
    assert all(np.array_equal(a, b) for a, b in zip(vars(found.arrays).values(), vars(arrays).values(), strict=True))
    assert data.examine(DATA, blocks_tree.root, images=False).arrays is None


def test_digits_have_no_files_to_survey() -> None:
    assert data.examine(Data(dataset="digits"), images=False).survey is None


RESIZED: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "smaller": lambda mask: Image.fromarray(mask).resize((45, 36), Image.Resampling.BILINEAR),
    "larger": lambda mask: Image.fromarray(mask).resize((90, 72), Image.Resampling.BILINEAR),
    "bicubic": lambda mask: Image.fromarray(mask).resize((45, 36), Image.Resampling.BICUBIC),
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("resize", RESIZED.values(), ids=RESIZED)
def test_masks_that_were_resized_by_interpolation_are_refused(
    resize: Callable[[np.ndarray], Image.Image], named: bool, blocks_tree: Any
) -> None:
    resized = resize(_blocks((0, 3, 9, 255), seed=1))
    resized.save(blocks_tree.root / "masks/5.png")
    blocks_tree.image("images/5.png", size=resized.size)
    if named:
        blocks_tree.text("classes.yaml", *(f"- class {i}" for i in range(10)))
    (line,) = _refused(blocks_tree)
    assert line.startswith(f"  {blocks_tree.root}/masks/5.png: holds ")
    assert "fill no area, so they are no classes: masks must be resized by nearest" in line


def test_masks_resized_by_nearest_are_masks(blocks_tree: Any) -> None:
    for i in range(4, 10):
        small = Image.fromarray(_blocks(tuple(range(0, 40, 2)), seed=i)).resize((23, 19), Image.Resampling.NEAREST)
        small.save(blocks_tree.root / f"masks/{i}.png")
        blocks_tree.image(f"images/{i}.png", size=small.size)
    assert not [remark for remark in _survey(blocks_tree).remarks if "interpolation" in remark]


def test_interpolation_between_classes_that_there_are_is_told(blocks_tree: Any) -> None:
    for i in range(4, 10):
        small = Image.fromarray(_blocks(tuple(range(8)), seed=i)).resize((90, 72), Image.Resampling.BILINEAR)
        small.save(blocks_tree.root / f"masks/{i}.png")
        blocks_tree.image(f"images/{i}.png", size=small.size)
    (remark,) = _survey(blocks_tree).remarks
    assert "if they were resized by interpolation, classes stand on borders where they are not" in remark


def test_real_masks_are_neither_refused_nor_remarked_upon(real_data: Path) -> None:
    if not (real_data / "camvid").is_dir():
        pytest.skip(f"no CamVid at {real_data}")
    found = data.examine(Data(dataset="voc", image_size=8), real_data / "camvid", images=False).survey
    assert found is not None and found.remarks == ()
    assert round(found.label_pixels[3] / sum(found.label_pixels), 2) == 0.29  # road


def test_palettes_of_their_own_are_refused(blocks_tree: Any) -> None:
    other = PALETTE[3:] + PALETTE[:3]  # the colour of 1 is number 0, and so on
    _save(_blocks((1, 2), seed=5) - 1, blocks_tree.root / "masks/5.png", other)
    (line,) = _refused(blocks_tree)
    assert line.startswith(
        f"  {blocks_tree.root}/masks/5.png: has number 0 in the colour (1, 254, 0), which is number 1"
    )
    assert "in 4.png: each mask has a palette of its own" in line


def test_other_colours_for_the_same_numbers_are_told(blocks_tree: Any) -> None:
    _save(_blocks(seed=5), blocks_tree.root / "masks/5.png", [*range(250, 256), *range(250)] * 3)
    (remark,) = _survey(blocks_tree).remarks
    assert remark.startswith("the masks' palettes differ: number ")
    assert "in 4.png and " in remark and remark.endswith("in 5.png; the numbers count, not the colours")


def test_a_class_in_the_colour_of_void_is_told(blocks_tree: Any) -> None:
    palette = [*PALETTE[:9], 224, 224, 192, *PALETTE[12:]]
    for i in range(4, 10):
        _save(_blocks(seed=i), blocks_tree.root / f"masks/{i}.png", palette)
    (remark,) = _survey(blocks_tree).remarks
    assert remark.startswith("number 3 has the colour of PASCAL VOC's void in ")


def test_a_palette_that_tells_nothing_apart_says_nothing(blocks_tree: Any) -> None:
    _save(_blocks((3,)), blocks_tree.root / "masks/5.png", [0] * 768)
    _save(_blocks((9,)), blocks_tree.root / "masks/6.png", [0] * 768)
    assert _survey(blocks_tree).remarks == ()


def test_images_that_are_in_two_splits_are_told(blocks_tree: Any) -> None:
    for twin, of in {"9": "1", "8": "2", "6": "3"}.items():
        shutil.copy(blocks_tree.root / f"images/{of}.png", blocks_tree.root / f"images/{twin}.png")
    assert _survey(blocks_tree).remarks == (
        "1 image is byte for byte in both 'train' and 'labels' (6.png is 3.png)",
        "2 images are byte for byte in both 'train' and 'held out' (8.png is 2.png, 9.png is 1.png): "
        "they are scored and learned from",
    )


def test_numbers_far_apart_are_told(blocks_tree: Any) -> None:
    for i in range(4, 10):
        _save(_blocks((0, 85, 170), seed=i), blocks_tree.root / f"masks/{i}.png")
    (remark,) = _survey(blocks_tree).remarks
    assert remark.startswith("171 classes are counted, up to the highest number, but only 3 occur (0, 85, 170)")


def test_class_file_that_is_not_read_is_told(blocks_tree: Any) -> None:
    blocks_tree.text("classes.txt", "a", "b")
    assert _survey(blocks_tree).remarks == ("classes.txt is not read: the names of classes are read from classes.yaml",)


# EXIF


def _turned(path: Path, size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path, exif=exif)


def test_turned_images_are_told_and_the_fingerprint_knows_them(blocks_tree: Any) -> None:
    path = blocks_tree.root / "images/5.png"
    _turned(path, SIZE[::-1], 6)
    assert _survey(blocks_tree).remarks == (
        "1 file is turned as EXIF's orientation says (5.png): an image's mask must be as the image is displayed",
    )
    six = data.about(DATA, blocks_tree.root).fingerprint
    _turned(path, SIZE[::-1], 8)
    assert data.about(DATA, blocks_tree.root).fingerprint != six


def test_mask_of_an_image_as_it_is_stored_is_refused(blocks_tree: Any) -> None:
    _turned(blocks_tree.root / "images/5.png", SIZE, 6)
    (line,) = _refused(blocks_tree)
    assert line.endswith("is 60x48 pixels, but its image 48x60, turned as EXIF says: masks must be as displayed")


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_phones_photograph_lies_upon_its_mask(orientation: int, cases: Path) -> None:
    """Road is dark and below, sky bright and above: as stored it would be the other way round or sideways."""
    from trainables.data.image_file import read_image, read_mask

    image = read_image(cases / "exif" / f"orientation_{orientation}.jpg", 1, 120)[0].astype(float)
    mask = read_mask(cases / "exif" / f"orientation_{orientation}.png")
    contrast = image[mask == 0].mean() - image[mask == 3].mean()
    turned = [np.rot90(mask, k) for k in (1, 2, 3)]
    assert contrast > max(image[m == 0].mean() - image[m == 3].mean() for m in turned) + 20
