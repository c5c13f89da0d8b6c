"""What a trial reads beside its config and its store. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Inputs:
    """Where a machine keeps its files: no settings, so no part of any key; what is in them is.

    Args:
        data_root: the folder of the datasets, or a .npz of images; None for their own default.
        checkpoint: of a pretrained network; None where none is asked for.
    """

    data_root: Path | None = None
    checkpoint: Path | None = None


NOWHERE = Inputs()
