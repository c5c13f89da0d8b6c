"""The command line: `python -m orchestrator.run ablations`. Reads the words, checks them, and only then starts.

Exit codes: 0 all trials ended well, 1 one failed, or a gate, 2 the request cannot be, 130 stopped by the person.
"""

from __future__ import annotations

from orchestrator import shadows, signals, streams

if __name__ == "__main__":
    signals.leave()  # the imports below take a moment, in which there is nothing to stop yet
    streams.outlive()
    shadows.refuse_shadows()

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import arguments
from orchestrator.cluster.connection import set_environment
from orchestrator.errors import UsageError
from orchestrator.new.folder import make
from orchestrator.planning import draft, plan, study_file
from orchestrator.planning.settings import Request
from orchestrator.preflight.inputs import planned, with_checkpoint
from orchestrator.preflight.order import checked, look
from orchestrator.program import PROGRAM
from orchestrator.storage.locations import Locations, check_address, check_readable
from orchestrator.storage.registry import Registry
from orchestrator.study.session_config import SessionConfig
from orchestrator.tracking.address import check_tracking
from search_spaces.spaces import ABLATIONS, SEGMENTATION, Space
from trainables.store import Store

if TYPE_CHECKING:
    from orchestrator.study.recorded import Recorded

OK, FAILED, USAGE_ERROR = 0, 1, 2
STANDARD_OUTPUT = "-"  # in place of a file's name


def main(words: Sequence[str] | None = None) -> int:
    """The exit code of the command that `words` ask for."""
    try:
        signals.listen()
        set_environment()  # before anything imports Ray or MLflow, which read it then
        args = arguments.parser().parse_args(words)
        return COMMANDS[args.command](args)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return signals.INTERRUPTED


def _run(args: argparse.Namespace, space: Space) -> int:
    check_address(args.address)
    request = with_checkpoint(arguments.request(args, space, args.seeds))
    resources, limits, locations = arguments.resources(args), arguments.limits(args), arguments.locations(args)
    if args.dry_run:
        from orchestrator.planning.dry_run import show_plan

        look(locations, args.tracking_uri)
        study, registry = planned(request, plan.build), Registry(locations.store)
        generation = registry.generation(study.name) + args.fresh
        show_plan(study, Store(registry.root_of(generation)), resources)
        return OK
    if args.detect:
        return _detect(args, request)
    study, locations = checked(request, locations, plan.build, args.address, args.tracking_uri, args.store)
    from orchestrator.study.study import run

    session_config = SessionConfig(study.inputs, locations.store, resources, limits, args.gpu_hour_price)
    return run(study, locations, session_config, args.fresh, args.address, args.accept_code)


def _detect(args: argparse.Namespace, request: Request) -> int:
    from orchestrator.console import console
    from orchestrator.study import detect

    wanted, locations = detect.share(args.detect), arguments.locations(args)
    look(locations, args.tracking_uri)
    detect.show_seeds_needed(planned(request, plan.build), locations, wanted, console())
    return OK


def _check(args: argparse.Namespace) -> int:
    check_address(args.address)
    space = study_file.space_of(args.study) if args.study else ABLATIONS
    request, resources = with_checkpoint(arguments.request(args, space, args.seeds)), arguments.resources(args)
    study, locations = checked(
        request, arguments.locations(args), plan.build, args.address, args.tracking_uri, args.store
    )
    from orchestrator.preflight.check import check, show

    found = check(study, locations, resources, args.address, thorough=True)
    show(found)
    return OK if all(finding.ok for finding in found) else USAGE_ERROR


def _search(args: argparse.Namespace) -> int:
    if args.trials < 1:
        raise UsageError(f"--trials: must be at least 1, but got {args.trials}")
    check_address(args.address)
    request = with_checkpoint(arguments.request(args, SEGMENTATION, [args.seed]))
    resources, limits, locations = arguments.resources(args), arguments.limits(args), arguments.locations(args)
    baseline = draft.baseline(request)
    if not baseline.segmentation.validation_images:
        raise UsageError("segmentation.validation_images must be at least 1 for a search, which chooses by them")
    from orchestrator.study.memory import check_memory  # only now: both import Optuna
    from search_spaces.tuning import SPACES, ranges

    space, build = SPACES[args.space](baseline), partial(plan.search, objective="validation_miou")
    if args.dry_run:
        from orchestrator.planning.dry_run import show_search

        look(locations, args.tracking_uri)
        study, store = planned(request, build), Store(Registry(locations.store).root_of(0))
        check_memory(study, locations)
        show_search(study, ranges(space), args.trials, store, resources)
        return OK
    study, locations = checked(request, locations, build, args.address, args.tracking_uri, args.store)
    check_memory(study, locations)
    from orchestrator.study import search

    session_config = SessionConfig(study.inputs, locations.store, resources, limits, args.gpu_hour_price)
    return search.run(study, space, args.trials, locations, session_config, args.address)


def _report(args: argparse.Namespace) -> int:
    # MLflow, and whatever else prints, would stand beside the object.
    with contextlib.redirect_stdout(sys.stderr) if args.json == STANDARD_OUTPUT else contextlib.nullcontext():
        locations, found = _recorded(args)
        from orchestrator.console import console
        from orchestrator.study.study import show_recorded

        try:
            show_recorded(found, locations, console())
        except OSError as error:
            raise UsageError(f"--storage: cannot write the report ({error})") from None
    if args.json is not None:
        from results.as_json import as_json

        _leave(as_json(found.study, found.summary, found.trials), args.json)
    return OK


def _gate(args: argparse.Namespace) -> int:
    from results.gate import gate, margin_of  # only now: it imports pandas

    try:
        margin = margin_of(args.within)
    except ValueError as error:
        raise UsageError(f"--within: {error}") from None
    _, found = _recorded(args)
    try:
        outcome = gate(found.summary, found.trials, args.metric, args.variant, margin)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    print(outcome.line)
    return OK if outcome.passes else FAILED


def _leave(text: str, file: str) -> None:
    """Prints the text, or writes it to the file."""
    if file == STANDARD_OUTPUT:
        print(text, end="")
        return
    try:
        Path(file).write_text(text, encoding="ascii")
    except OSError as error:
        raise UsageError(f"--json: cannot write {file} ({error.strerror})") from None
    print(f"json      {file}")


def _recorded(args: argparse.Namespace) -> tuple[Locations, Recorded]:
    """Where the words say that things are kept, and what MLflow has there of the study that they name."""
    locations = arguments.locations(args)
    _refuse_empty(args)
    check_tracking(locations.tracking_uri, bool(args.tracking_uri))
    from orchestrator.study.recorded import recorded  # only now: it imports MLflow

    try:
        return locations, recorded(args.name, locations)
    except LookupError as error:
        raise UsageError(str(error)) from None


def _ui(args: argparse.Namespace) -> int:
    from orchestrator.tracking import ui
    from orchestrator.tracking.address import database_path
    from orchestrator.tracking.backend import follow_folder

    locations = arguments.locations(args)
    if args.cluster is None:
        ui.refuse_server(locations.tracking_uri)
        _refuse_empty(args)
        check_tracking(locations.tracking_uri, bool(args.tracking_uri))
        if database := database_path(locations.tracking_uri):
            follow_folder(database, locations.artifacts)
    return ui.run(locations.tracking_uri, args.port, args.cluster)


def _refuse_empty(args: argparse.Namespace) -> None:
    if not args.tracking_uri and not (args.storage / "mlflow.db").exists():
        raise UsageError(f"--storage: no study has been run in {args.storage}")


def _store(args: argparse.Namespace) -> int:
    from orchestrator.storage.store_command import forget, prune, show

    root = arguments.locations(args).store
    check_readable(root, made=True)
    registry = Registry(root)
    if args.forget is not None:
        forget(registry, args.forget)
    prune(registry) if args.prune else show(registry)
    return OK


def _schema(args: argparse.Namespace) -> int:
    print(json.dumps(study_file.schema(), indent=2))
    return OK


def _new(args: argparse.Namespace) -> int:
    files = make(args.name, Path())
    print("\n".join(str(file) for file in files))
    print(f"next: cd {args.name} && {PROGRAM} ablations study.yaml --dry-run")
    return OK


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    ABLATIONS.name: partial(_run, space=ABLATIONS),
    SEGMENTATION.name: partial(_run, space=SEGMENTATION),
    "check": _check,
    "search": _search,
    "report": _report,
    "gate": _gate,
    "ui": _ui,
    "store": _store,
    "schema": _schema,
    "new": _new,
}

if __name__ == "__main__":
    signals.end(main())
