"""Figures and foreign texts as a person reads them, on the console as in a report; imports no pandas."""

from __future__ import annotations

import math

from results.metrics import Metric

NOTHING = "–"


def number(value: float, metric: Metric, sign: str = "-") -> str:
    """The value with the metric's decimals; `sign="+"` marks a positive one too."""
    return f"{value:{sign}z.{metric.digits}f}".replace("-", "−")


def interval(low: float, high: float, metric: Metric) -> str:
    """The two ends in brackets, with the metric's decimals."""
    return f"[{number(low, metric)}, {number(high, metric)}]"


def p_value(p: float) -> str:
    """Three decimals, and never 0.050 for what is above 5 % nor for what is below."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if f"{p:.3f}" != "0.050" else f"{p:.6f}".rstrip("0")


def counted(things: int, what: str) -> str:
    """'1 seed', '3 seeds'."""
    return f"{things} {what}{'' if things == 1 else 's'}"


def count(value: float) -> str:
    """Three digits and a unit: 512, 198 k, 35.7 M."""
    if math.isnan(value):
        return NOTHING
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:  # what three digits round up to the unit
            return f"{value / unit:#.3g}".rstrip(".") + f" {name}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Two units at most: 0 s, 0.4 s, 52 s, 1 m 52 s, 2 h 05 m."""
    if math.isnan(seconds):
        return NOTHING
    if seconds == 0:
        return "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} m"
    return f"{minutes} m {rest:02} s" if minutes else f"{rest} s"


def size(in_bytes: float) -> str:
    """Bytes in the unit that fits: 512 B, 1.5 kB, 3.2 GB."""
    value = in_bytes
    for unit in ("B", "kB", "MB", "GB"):
        if value < (999.5 if unit == "B" else 999.95):  # what is printed stays below 1000
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def one_line(text: str) -> str:
    """One line without control characters, which in an error's text could repaint a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def joined(*texts: str, by: str = ", ") -> str:
    """The texts that are not empty."""
    return by.join(text for text in texts if text)
