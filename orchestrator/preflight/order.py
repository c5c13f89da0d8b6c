"""What a command looks at before it starts: places first, then data and code, and only then is anything made."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.planning.plan import Study
from orchestrator.planning.settings import Request
from orchestrator.preflight.inputs import Build, looked_at
from orchestrator.preflight.surroundings import check_cache, check_surroundings
from orchestrator.storage.locations import Locations, check_readable, check_storage, check_store
from orchestrator.tracking.address import check_tracking


def checked(
    request: Request, locations: Locations, build: Build, address: str, tracking_uri: str | None, store: str | None
) -> tuple[Study, Locations]:
    """The study and where it is kept, looked at: nothing is made before all that can be wrong is known.

    Args:
        address: of the Ray cluster.
        tracking_uri: that the person has named, if any; so with the store.

    Raises:
        UsageError: what cannot be or cannot be used.
    """
    look(locations, tracking_uri)
    check_surroundings(address)
    study = looked_at(request, build)
    if store:
        locations = replace(locations, store=check_store(store))
    check_storage(locations.storage)
    return study, locations


def look(locations: Locations, tracking_uri: str | None) -> None:
    """Passes if the places can be used, as far as that is told without writing: a dry run asks no more.

    Raises:
        UsageError: one that cannot.
    """
    check_tracking(locations.tracking_uri, bool(tracking_uri))
    check_readable(locations.store)
    check_storage(locations.storage, make=False)
    check_cache(write=False)
