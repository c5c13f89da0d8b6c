"""What a stage is, and what it is made from. Imports no torch: a plan asks the stages for keys and costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from trainables.config import Config
from trainables.data import About
from trainables.inputs import NOWHERE, Inputs

if TYPE_CHECKING:
    import torch

    from trainables.checkpoints import Checkpoints
    from trainables.data import Dataset
    from trainables.progress import Making
    from trainables.store import Artefact


@dataclass
class Context:
    """What the stages of one trial are made from.

    Args:
        artefacts: the stages that are there already, by name; those that a stage needs are, when it is made.
        parts: that a batch is computed in, where the GPU's memory is short.
    """

    config: Config
    data: Dataset
    device: torch.device
    inputs: Inputs = NOWHERE
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    parts: int = 1


class Stage(Protocol):
    """What the module of a stage offers."""

    NAME: str
    FORMAT: int  # of its files, to be raised when they can no longer be read as they were
    LABEL: str  # what a person reads

    def needs(self, config: Config) -> tuple[str, ...]:
        """The names of the stages whose output it reads."""

    def determined_by(self, config: Config, about: About, keys: Mapping[str, str]) -> list[object]:
        """What its output depends on, beside its name and its code.

        Args:
            keys: of the stages that it needs, by name.
        """

    def make(self, context: Context, checkpoints: Checkpoints) -> Making:
        """Progress; returns what writes the output."""

    def flops(self, config: Config, about: About) -> float:
        """The floating-point operations of making it."""

    def metrics(self, config: Config) -> tuple[str, ...]:
        """The figures of merit that it gives, the main one first; () where it only prepares others."""
