"""Pixels as an image inside the page: WebP at the images' own resolution, which the browser enlarges."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from results.page.elements import escaped
from results.shown import Images

LOSSLESS_UP_TO = 48  # pixels of a side: each is seen as a square, and lossy WebP would blur their colours
_QUALITY = 82
_GAP = 1 / 16  # of a tile's width


def strip(tiles: Images) -> NDArray[np.uint8]:
    """The tiles side by side with transparent gaps, (H, W', 4).

    Args:
        tiles: (N, H, W, 1 or 3) uint8.
    """
    count, height, width = tiles.shape[:3]
    gap = max(1, round(width * _GAP))
    row = np.zeros((height, count, width + gap, 4), dtype=np.uint8)
    row[:, :, :width, :3] = np.broadcast_to(tiles, (*tiles.shape[:3], 3)).transpose(1, 0, 2, 3)
    row[:, :, :width, 3] = 255
    return row.reshape(height, -1, 4)[:, :-gap]


def image(pixels: NDArray[np.uint8], alt: str) -> str:
    """An img element that holds the pixels.

    Args:
        pixels: (H, W, 3 or 4) uint8.
        alt: the text for who cannot see it.
    """
    sharp = min(pixels.shape[:2]) <= LOSSLESS_UP_TO
    # Method 2: beyond it, time doubles for some percent of the bytes.
    how = {"lossless": True, "quality": 50} if sharp else {"quality": _QUALITY}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", method=2, **how)
    kind = "" if sharp else ' class="smooth"'
    size = f'width="{pixels.shape[1]}" height="{pixels.shape[0]}"'
    return f'<img{kind} {size} alt="{escaped(alt)}" src="{data_uri(file.getvalue(), "image/webp")}">'


def data_uri(content: bytes, kind: str) -> str:
    """The bytes as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def recoded(content: bytes) -> tuple[bytes, str]:
    """A picture's file as the smaller of itself and lossless WebP, with its kind; as it is where it cannot be read."""
    try:
        file = io.BytesIO()
        Image.open(io.BytesIO(content)).save(file, "WEBP", method=2, lossless=True)
    except (OSError, ValueError):
        return content, "image/png"
    return (file.getvalue(), "image/webp") if file.tell() < len(content) else (content, "image/png")
