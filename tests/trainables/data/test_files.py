"""What is read of image and mask files, and that every file which cannot be used is named."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch.nn import functional as F

from trainables import data
from trainables.config import Data
from trainables.data import DataError, files
from trainables.data.files import Listing, Offenders, Pair, Unusable, nearest, read_image, read_mask, shuffled

ROOT = Path(__file__).parents[3]
DATA = Data(dataset="folder", image_size=8)
ORDER = list("gcabefhd")  # of "abcdefgh" under the seed 1


def _message(root: Path) -> str:
    """What `arrays` says of a folder that cannot be used."""
    with pytest.raises(DataError) as caught:
        data.arrays(DATA, root)
    return str(caught.value)


# Reading


@pytest.mark.parametrize("size", [8, 24, 60])
def test_image_is_squashed_as_an_antialiased_bicubic_resize_does(tree: Any, size: int) -> None:
    pixels = np.random.default_rng(0).integers(64, 192, (28, 36, 3), np.uint8)  # no value is cut off on the way
    Image.fromarray(pixels).save(tree.path("a.png"))
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    expected = F.interpolate(whole, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    difference = read_image(tree.root / "a.png", 3, size) - expected[0].numpy()
    assert np.abs(difference).max() < 1.5  # rounded twice


@pytest.mark.parametrize(("height", "width"), [(10, 12), (7, 31), (40, 3)])
@pytest.mark.parametrize("size", [1, 8, 13, 60])
def test_mask_is_resized_by_nearest_with_pixel_centres(height: int, width: int, size: int) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    expected = F.interpolate(torch.from_numpy(mask)[None, None], size=(size, size), mode="nearest-exact")[0, 0]
    assert np.array_equal(nearest(mask, size), expected.numpy())


@pytest.mark.parametrize("size", [16, 64])
def test_mask_stays_upon_its_image(tree: Any, size: int) -> None:
    numbers = np.zeros((60, 90), np.uint8)
    numbers[8:31, 50:83] = 1
    Image.fromarray(numbers * 255).convert("RGB").save(tree.path("a.png"))
    Image.fromarray(numbers).save(tree.path("a-mask.png"))
    image = read_image(tree.root / "a.png", 3, size)
    mask = nearest(read_mask(tree.root / "a-mask.png"), size)
    assert mask.mean() == pytest.approx(numbers.mean(), abs=0.03)
    assert (mask[image[0] > 200] == 1).all()
    assert (mask[image[0] < 55] == 0).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_mask_is_read_as_indices(tree: Any, bits: int) -> None:
    numbers = (np.arange(12) % 2**bits).astype(np.uint8).reshape(3, 4)
    image = Image.fromarray(numbers)
    image.putpalette([200, 10, 10, 3, 3, 3] * 8)
    image.save(tree.path("a.png"), bits=bits)
    assert np.array_equal(read_mask(tree.root / "a.png"), numbers)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_npy_mask_is_read_by_its_values(tree: Any, dtype: str) -> None:
    numbers = np.array([[0, 3, 255], [1, 2, 3]])
    np.save(tree.path("a.npy"), numbers.astype(dtype))
    found = read_mask(tree.root / "a.npy")
    assert found.dtype == np.uint8
    assert np.array_equal(found, numbers)


# Files that are refused


def _png(depth: int, colour: int, rows: list[bytes]) -> bytes:
    """A PNG of any depth: PIL writes only some."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    channels = {0: 1, 2: 3}[colour]
    head = struct.pack(">IIBBBBB", len(rows[0]) * 8 // depth // channels, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _noise(mode: str, path: Path, size: tuple[int, int] = (12, 10), **options: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)


def _cut_jpeg(path: Path) -> None:
    _noise("RGB", path, size=(60, 40), format="JPEG")
    path.write_bytes(path.read_bytes()[:-200])


BAD_IMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "16-bit grey": (lambda p: Image.fromarray(np.ones((10, 12), np.uint16)).save(p), "16-bit I;16; images must be"),
    "16-bit RGB": (lambda p: p.write_bytes(_png(16, 2, [bytes(72)] * 10)), "16-bit RGB; images must be 8-bit"),
    "alpha": (lambda p: _noise("RGBA", p), "8-bit RGBA; images must be 8-bit grey (L), RGB or palette (P)"),
    "grey with alpha": (lambda p: _noise("LA", p), "8-bit LA; images must be"),
    "transparent palette": (lambda p: _noise("P", p, transparency=0), "8-bit P with transparency"),
    "transparent colour": (lambda p: _noise("RGB", p, transparency=(1, 2, 3)), "8-bit RGB with transparency"),
    "black and white": (lambda p: _noise("1", p), "1-bit 1; images must be"),
    "CMYK": (lambda p: _noise("CMYK", p, format="JPEG"), "JPEG of mode CMYK; images must be"),
    "another format": (lambda p: _noise("RGB", p, format="GIF"), "cannot be read: cannot identify"),
    "no image": (lambda p: p.write_text("hello"), "cannot be read: cannot identify"),
    "empty": (lambda p: p.write_bytes(b""), "cannot be read: cannot identify"),
    "a folder": (lambda p: p.mkdir(), "cannot be read: "),
    "missing": (lambda p: None, "is missing"),
    "truncated JPEG": (_cut_jpeg, "cannot be read: image file is truncated"),
}


@pytest.mark.parametrize(("make", "says"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_image_that_cannot_be_used_is_refused(
    make: Callable[[Path], Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other libraries leave it
    make(tmp_path / "a.png")
    with pytest.raises(Unusable) as caught:
        read_image(tmp_path / "a.png", 3, 8)
    assert says in str(caught.value)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_grey_rgb_and_palette_images_are_read(mode: str, suffix: str, tree: Any) -> None:
    path = tree.image(f"a.{suffix}", size=(8, 8), mode=mode)
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB"))
    assert np.array_equal(read_image(path, 3, 8), expected.transpose(2, 0, 1))


BAD_MASKS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "RGB": ("png", lambda p: _noise("RGB", p), "is 8-bit RGB; masks must hold class numbers"),
    "alpha": ("png", lambda p: _noise("RGBA", p), "is 8-bit RGBA; masks must"),
    # PIL gives the numbers 0 to 3 as 0, 85, 170 and 255.
    "2-bit grey": ("png", lambda p: p.write_bytes(_png(2, 0, [b"\x1b\x1b\x1b"] * 10)), "is 2-bit L; masks must"),
    "16-bit": ("png", lambda p: Image.fromarray(np.ones((10, 12), np.uint16)).save(p), "is 16-bit I;16; masks"),
    "JPEG": ("png", lambda p: _noise("L", p, format="JPEG"), "is JPEG of mode L; masks must"),
    "missing png": ("png", lambda p: None, "is missing"),
    "missing npy": ("npy", lambda p: None, "is missing"),
    "pickle": ("npy", lambda p: np.save(p, np.array([[{}, {}]])), "cannot be read as .npy: Object arrays"),
    "three dimensions": ("npy", lambda p: np.save(p, np.zeros((2, 3, 1), int)), "has the shape (2, 3, 1)"),
    "one dimension": ("npy", lambda p: np.save(p, np.zeros(4, int)), "has the shape (4,)"),
    "no pixel": ("npy", lambda p: np.save(p, np.zeros((0, 4), int)), "has the shape (0, 4)"),
    "fractions": ("npy", lambda p: np.save(p, np.full((2, 2), 0.5)), "no whole numbers"),
    "not a number": ("npy", lambda p: np.save(p, np.full((2, 2), np.nan)), "no whole numbers"),
    "truth values": ("npy", lambda p: np.save(p, np.ones((2, 2), bool)), "holds bool values"),
    "negative": ("npy", lambda p: np.save(p, np.array([[-1, 3]])), "holds numbers from -1 to 3"),
    "above 255": ("npy", lambda p: np.save(p, np.array([[256, 3]])), "holds numbers from 3 to 256"),
    "an archive": ("npy", lambda p: np.savez(p.open("wb"), a=np.ones(2)), "cannot be read as .npy"),
    "text": ("npy", lambda p: p.write_text("hello"), "cannot be read as .npy"),
}


@pytest.mark.parametrize(("suffix", "make", "says"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_mask_that_cannot_be_used_is_refused(
    suffix: str, make: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    make(path)
    with pytest.raises(Unusable) as caught:
        read_mask(path)
    assert says in str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["RGB.png", "RGB.jpg", "P.bmp", "mask.png", "mask.npy"])
def test_damaged_file_raises_nothing_but_unusable(kind: str, tree: Any) -> None:
    mode, suffix = kind.split(".")
    path = tree.mask(f"a.{suffix}") if mode == "mask" else tree.image(f"a.{suffix}", mode=mode)
    content, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.randrange(min(len(content), 200))] ^= rng.randrange(1, 256)
        path.write_bytes(damaged if rng.random() < 0.8 else damaged[: rng.randrange(len(content))])
        try:
            read_mask(path) if mode == "mask" else read_image(path, 3, 8)
        except Unusable:
            refused += 1
    assert refused > 20


# The listing


def test_all_offenders_are_named_at_once(folder_tree: Any) -> None:
    """One of each kind: what is known by listing, by a file's head, and by decoding alone."""
    tree = folder_tree
    tree.text("train.txt", *"0123")
    tree.text("labels.txt", *"4563", "nowhere")
    tree.text("held_out.txt", *"789")
    tree.text("classes.yaml", "- one", "- two")
    _cut_jpeg(tree.path("images/1.jpg"))
    (tree.root / "images" / "1.png").unlink()
    tree.image("images/2.png", mode="RGBA")
    (tree.root / "masks" / "4.png").unlink()
    tree.mask("masks/5.png", size=(10, 12))
    tree.mask("masks/6.png", numbers=(0, 7, 9, 255))
    tree.image("masks/7.png")
    (tree.root / "masks" / "8.png").unlink()
    np.save(tree.path("masks/8.npy"), np.array([[{}]]), allow_pickle=True)
    problem, *lines = _message(tree.root).split("\n  ")
    assert problem == f"the folder data in {tree.root} cannot be used:"
    says = {
        "images/1.jpg: cannot be read: image file is truncated",
        "images/2.png: is 8-bit RGBA",
        "labels.txt: 3 is already in train.txt",
        "labels.txt: nowhere is no stem",
        "masks/4.png: is missing",
        "masks/5.png: is 10x12 pixels, but its image 12x10",
        "masks/6.png: holds the numbers [7, 9], but the classes are 0 to 1",
        "masks/7.png: is 8-bit RGB",
        "masks/8.npy: cannot be read as .npy",
    }
    assert {start for start in says for line in lines if line.startswith(str(tree.root / start))} == says
    assert len(lines) == len(says)


def test_a_dry_run_names_what_the_heads_show(folder_tree: Any) -> None:
    for i in range(10):
        (folder_tree.root / "masks" / f"{i}.png").unlink()
    with pytest.raises(DataError) as caught:
        data.about(DATA, folder_tree.root)
    assert str(caught.value).count("is missing") == 10


def test_long_lists_of_offenders_are_cut(tree: Any) -> None:
    for i in range(30):
        tree.image(f"images/{i}.png", mode="RGBA")
        tree.mask(f"masks/{i}.png")
    lines = _message(tree.root).split("\n  ")
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "and 10 more"


def test_twenty_offenders_are_all_named() -> None:
    offenders = Offenders()
    for i in range(20):
        offenders.add(Path(f"{i}"), "is missing")
    with pytest.raises(DataError) as caught:
        offenders.refuse("cannot be used:")
    assert str(caught.value).splitlines()[1:] == [f"  {i}: is missing" for i in range(20)]


def test_missing_data_names_both_places(tmp_path: Path) -> None:
    message = _message(tmp_path)
    for part in (str(tmp_path / "folder"), f"  {tmp_path}", "the folder images", "--data-root", "ABLATION_DATA"):
        assert part in message


def test_default_place_is_the_cache_folder(tree: Any, folder_tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATION_CACHE", str(tree.root.parent / "cache"))
    with pytest.raises(DataError, match="cache/data"):
        data.about(DATA)
    (tree.root.parent / "cache" / "data").mkdir(parents=True)
    tree.root.rename(tree.root.parent / "cache" / "data" / "folder")
    assert data.about(DATA).train_images == 6


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["- a", "- [b"], "cannot be read as YAML"),
        (["\x00"], "cannot be read as YAML"),
        ([""], "must be a list of class names, or a mapping"),
        (["text"], "must be a list of class names, or a mapping"),
        (["a: 0"], "must be a list of class names, or a mapping"),
        (["true: a"], "must be a list of class names, or a mapping"),
        (["[]"], "must name the classes 0, 1, ... without a gap"),
        (["0: a", "2: b"], "must name the classes 0, 1, ... without a gap, at most 255, but has [0, 2]"),
        (["1: a"], "must name the classes 0, 1, ... without a gap"),
        (["- yes", "- no"], "in quotes where YAML takes it for something else: True"),
        (["- 1", "- b"], "in quotes where YAML takes it for something else: 1"),
        (["- a", "- ''"], "a class name must be text"),
        (["- a", "- a"], "must not repeat a name"),
    ],
)
def test_class_file_that_says_no_classes_is_refused(lines: list[str], says: str, folder_tree: Any) -> None:
    path = folder_tree.text("classes.yaml", *lines)
    (line,) = _message(folder_tree.root).splitlines()[1:]
    assert line.startswith(f"  {path}: ")
    assert says in line


@pytest.mark.parametrize("lines", [["- sky", "- 'no'"], ["1: 'no'", "0: sky"], ["0: sky", "1: 'no'", "255: void"]])
def test_class_names_are_those_of_the_file(lines: list[str], folder_tree: Any) -> None:
    folder_tree.text("classes.yaml", *lines)
    assert data.about(DATA, folder_tree.root).class_names == ("sky", "no")


def test_classes_without_names_are_numbered_up_to_the_highest(folder_tree: Any) -> None:
    for i in range(10):
        folder_tree.mask(f"masks/{i}.png", numbers=(0, 2, 5, 255))
    assert data.about(DATA, folder_tree.root).class_names == tuple(f"class {k}" for k in range(6))


def test_masks_that_are_all_void_are_refused(folder_tree: Any) -> None:
    for i in range(10):
        folder_tree.mask(f"masks/{i}.png", numbers=(255,))
    with pytest.raises(DataError, match="no mask holds a class"):
        data.about(DATA, folder_tree.root)


def test_ignored_number_is_no_class(tree: Any) -> None:
    """Another number than 255 may be the one that is ignored; 255 is then a number without a class."""
    pair = Pair(tree.image("a.png"), tree.mask("a-mask.png", numbers=(0, 1)))
    listing = Listing("test", tree.root, [pair.image], [pair], [pair], ("zero", "one"), ignore_index=0)
    assert files.about(listing).ignore_index == 0
    assert set(np.unique(files.arrays(listing, DATA).label_masks)) == {0, 1}
    tree.mask("a-mask.png", numbers=(0, 1, 255))
    with pytest.raises(DataError, match=r"holds the numbers \[255\]"):
        files.arrays(listing, DATA)


def test_random_order_is_the_same_for_ever() -> None:
    assert shuffled("abcdefgh", 1) == ORDER
    assert shuffled("hgfedcba", 1) == shuffled("abcdefgh", 1) != shuffled("abcdefgh", 2)


# Fingerprint and cache


def _rename(tree: Any) -> None:
    for name in ("images/5.png", "masks/5.png"):
        tree.path(name).rename(tree.path(name).with_stem("x"))
    tree.text("labels.txt", *"4x6")


CHANGES: dict[str, Callable[[Any], Any]] = {
    "an image": lambda tree: tree.image("images/3.png", mode="L"),
    "a mask": lambda tree: tree.mask("masks/5.png", numbers=(1, 0)),
    "a name": _rename,
    "the classes": lambda tree: tree.text("classes.yaml", "- a", "- b"),
    "an image's split": lambda tree: (tree.text("train.txt", *"012"), tree.text("labels.txt", *"3456")),
    "the border of two splits": lambda t: (t.text("labels.txt", *"45"), t.text("held_out.txt", *"6789")),
    "two splits": lambda tree: (tree.text("labels.txt", *"789"), tree.text("held_out.txt", *"456")),
    "the order": lambda tree: tree.text("labels.txt", *"645"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_fingerprint_tells_what_changed(change: Callable[[Any], Any], folder_tree: Any) -> None:
    for split, stems in {"train": "0123", "labels": "456", "held_out": "789"}.items():
        folder_tree.text(f"{split}.txt", *stems)
    before = data.about(DATA, folder_tree.root).fingerprint
    assert data.about(DATA, folder_tree.root).fingerprint == before
    change(folder_tree)
    assert data.about(DATA, folder_tree.root).fingerprint != before


def test_fingerprint_is_the_same_in_another_place(folder_tree: Any, tmp_path: Path) -> None:
    before = data.about(DATA, folder_tree.root)
    folder_tree.root.rename(tmp_path / "elsewhere")
    assert data.about(DATA, tmp_path / "elsewhere") == before


def test_neither_about_nor_arrays_needs_torch(folder_tree: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from trainables import data; from trainables.config import Data; "
        "settings = Data(dataset='folder', image_size=8), Path(sys.argv[1]); "
        "data.about(*settings); data.arrays(*settings); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder_tree.root)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
