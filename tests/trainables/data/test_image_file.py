"""What is read of one image or mask file, and that one which cannot be used is refused in words."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch.nn import functional as F

from trainables.data.image_file import Unusable, image_head, mask_head, nearest, read_image, read_mask

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


ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    # What is stored, made from what is displayed: EXIF 2.32, section 4.6.4.A.
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def _oriented(displayed: np.ndarray, orientation: int, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](displayed))).save(path, exif=exif)


def _exif_last(path: Path) -> None:
    """Moves a PNG's eXIf chunk behind its pixels, where some programs write it."""
    content = path.read_bytes()
    at = content.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    path.write_bytes(content[:at] + content[end:-12] + content[at:end] + content[-12:])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "behind the pixels"])
def test_image_and_mask_are_read_as_they_are_displayed(orientation: int, late: bool, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    mask = np.random.default_rng(1).integers(0, 5, (10, 12), np.uint8)
    for name, displayed in {"image.png": image, "mask.png": mask}.items():
        _oriented(displayed, orientation, tmp_path / name)
        if late:
            _exif_last(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / "image.png", 3, 16), image.transpose(2, 0, 1))
    assert np.array_equal(read_mask(tmp_path / "mask.png"), mask)
    assert mask_head(tmp_path / "mask.png") == ("L", (12, 10), orientation)
    assert image_head(tmp_path / "image.png") == ("RGB", (16, 16), orientation)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0MM\0*\0\0\xff\xff", b""])
def test_exif_that_no_program_can_read_turns_nothing(exif: bytes, tmp_path: Path) -> None:
    image = np.full((12, 20, 3), 7, np.uint8)
    Image.fromarray(image).save(tmp_path / "a.jpg", exif=exif)
    assert image_head(tmp_path / "a.jpg") == ("RGB", (20, 12), 1)
    assert (read_image(tmp_path / "a.jpg", 3, 8) == 7).all()


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_that_is_none_turns_nothing(value: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(np.zeros((12, 20), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert image_head(tmp_path / "a.jpg") == ("L", (20, 12), 1)


@pytest.mark.parametrize("suffix", ["PNG", "Png", "NPY"])
def test_suffix_of_a_mask_may_be_in_capitals(suffix: str, tree: Any) -> None:
    numbers = np.array([[0, 3, 255], [1, 2, 3]], np.uint8)
    if suffix == "NPY":
        with tree.path("a.NPY").open("wb") as file:
            np.save(file, numbers)
    else:
        Image.fromarray(numbers).save(tree.path(f"a.{suffix}"), format="PNG")
    assert np.array_equal(read_mask(tree.root / f"a.{suffix}"), numbers)


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


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
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
    "empty": (lambda p: p.write_bytes(b""), "cannot be read: it is empty"),
    "not fetched": (lambda p: p.write_text(POINTER), "cannot be read: it is a pointer of Git LFS"),
    "a web page": (lambda p: p.write_text("<!doctype html>"), "cannot be read: it is a web page"),
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
    "not fetched": ("npy", lambda p: p.write_text(POINTER), "cannot be read as .npy: it is a pointer of Git LFS"),
    "not fetched png": ("png", lambda p: p.write_text(POINTER), "cannot be read: it is a pointer of Git LFS"),
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
