"""The picture of a design's effects: each with the interval that holds together with those of the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from results.effects import INCONCLUSIVE, INTERACTION
from results.effects_shown import shown_metrics
from results.formatting import joined

_DPI = 120
_COLOURS = {"helps": "#12723a", "better together": "#12723a", "hurts": "#b3261e", "worse together": "#b3261e"}
_GREY = "#5b6575"


def effects(table: pd.DataFrame) -> Figure:
    """A panel a metric, a line an effect; filled where the interval leaves out 0, a diamond for an interaction.

    Args:
        table: as `effects.effects_table` gives it, with a row at least.
    """
    metrics = shown_metrics(table)
    names = list(dict.fromkeys(table["effect"]))
    labels = table.drop_duplicates("effect").set_index("effect")["aliases"]
    figure = Figure(figsize=(3 + 3.4 * len(metrics), 1.3 + 0.36 * len(names)), dpi=_DPI, layout="constrained")
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics), sharey=True)), metrics, strict=True):
        axes.axvline(0, color="#1c2430", linewidth=0.9)
        for row in table[(table["metric"] == metric.name) & table["estimate"].notna()].to_dict("records"):
            at, colour = names.index(row["effect"]), _COLOURS.get(row["verdict"], _GREY)
            axes.plot([row["ci_low"], row["ci_high"]], [at, at], color=colour, linewidth=1.8, solid_capstyle="butt")
            filled = row["p"] == row["p"] and row["verdict"] != INCONCLUSIVE
            axes.plot(
                row["estimate"], at, "D" if row["kind"] == INTERACTION else "o",
                color=colour, markerfacecolor=colour if filled else "white", markersize=6,
            )  # fmt: skip
        better = "lower" if metric.lower_is_better else "higher"
        axes.set(title=f"{metric.name} {metric.arrow}", xlabel=f"Δ [95 %, together]; {better} is better")
        axes.set_yticks(range(len(names)), [joined(name, labels[name], by=" ") for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return figure
