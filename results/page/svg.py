"""Inline SVG: its frame with texts for who cannot see it, marks whose colours are the style sheet's, and axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results.page.elements import escaped

LETTER = 7.2  # about the width of a letter of 12 units' height


def picture(
    identity: str, width: float, height: float, title: str, description: str, marks: Iterable[str], kind: str = ""
) -> str:
    """A whole SVG element.

    Args:
        identity: of the element, once a page.
        width: and height, in units; the page scales them.
        title: what it shows, in a few words.
        description: what a reader would see in it.
        kind: a class of the style sheet.
    """
    return (
        f'<svg class="{kind}" role="img" viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 1.25:g}px" '
        f'aria-labelledby="{identity}-title {identity}-desc">'
        f'<title id="{identity}-title">{escaped(title)}</title><desc id="{identity}-desc">{escaped(description)}</desc>'
        + "".join(marks)
        + "</svg>"
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start", full: str = "") -> str:
    """Words at a point of their base line.

    Args:
        anchor: which end of the words is at x: start, middle or end.
        full: what the words are short for.
    """
    whole = f"<title>{escaped(full)}</title>" if full and full != words else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(words)}{whole}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A rectangle from one corner to the other."""
    return f'<rect class="{kind}" x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'


def circle(x: float, y: float, radius: float, kind: str, title: str = "") -> str:
    """A dot, with a text that shows under the pointer."""
    inner = f"<title>{escaped(title)}</title>" if title else ""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{inner}</circle>'


def path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> str:
    """A line through points; "" where there are none."""
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    shape = "polygon" if closed else "polyline"
    return f'<{shape} class="{kind}" points="{drawn}"/>' if points else ""


def shortened(words: str, letters: int) -> str:
    """The words, cut to so many letters."""
    return words if len(words) <= letters else words[: letters - 1] + "…"


@dataclass(frozen=True)
class Scale:
    """From values to units of a picture: linear, or by the logarithm of values that are all positive.

    Args:
        low: and high, the values at both ends; high > low.
        start: and end, where these are in the picture.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where the value is in the picture."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def inside(self, value: float) -> bool:
        """Whether the value is between both ends."""
        return self.low <= value <= self.high

    def ticks(self, wanted: int = 5) -> list[float]:
        """About so many round values between both ends, rising."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            marks = [m * 10.0**d for d in decades for m in (1, 2, 5)]
            inside = [mark for mark in marks if self.inside(mark)]
            if len(inside) > wanted + 1:
                inside = [mark for mark in inside if f"{mark:e}"[0] == "1"]
            if len(inside) > 1:
                return inside[:: -(-len(inside) // (wanted + 1))]
        step = _round_step((self.high - self.low) / wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def _round_step(step: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9))


def tick_label(value: float, sign: bool = False) -> str:
    """A round value as an axis shows it: 0.05, 2k, −10."""
    if value == 0:
        return "0"
    size = abs(value)
    words = f"{size / 1000:g}k" if size >= 1000 and size / 1000 == round(size / 1000, 1) else f"{size:.6g}"
    return ("−" if value < 0 else "+" if sign else "") + words
