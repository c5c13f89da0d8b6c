"""A study's figures as MLflow has them: what its table, its JSON and its gate are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.storage.locations import Locations
from orchestrator.tracking.backend import reason, without_password

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Recorded:
    """A study's trials, as `results.trials.load_trials` gives them, and their summary."""

    study: str
    summary: pd.DataFrame
    trials: pd.DataFrame


def recorded(study: str, locations: Locations, asked: Iterable[str] = ()) -> Recorded:
    """The study's figures.

    Args:
        asked: the variants of the command, where there is one; the table says of the others that they are of before.

    Raises:
        LookupError: there is no such study; its text is one line that names those that exist.
        UsageError: MLflow cannot be read.
    """
    from results.summary import present_metrics, summarise  # only now: they import pandas
    from results.trials import load_trials

    try:
        trials = load_trials(locations.tracking_uri, study)
    except LookupError:
        raise
    except Exception as error:  # each database has errors of its own
        uri = without_password(locations.tracking_uri)
        raise UsageError(f"--tracking-uri: MLflow cannot read {uri} ({reason(error)})") from None
    trials.attrs["asked"] = sorted(set(asked))
    return Recorded(study, summarise(trials, present_metrics(trials)), trials)
