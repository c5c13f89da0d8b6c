"""The command line: `python -m orchestrator.run ablations`. Reads the words, checks them, and only then starts.

Exit codes: 0 all trials ended well, 1 one failed, 2 the request cannot be, 130 stopped by the person.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from orchestrator import interrupts, plan
from orchestrator.devices import Limits, Resources, cpus, gpus
from orchestrator.errors import UsageError
from orchestrator.place import (
    Place,
    check_address,
    check_storage,
    check_store,
    check_uri,
    default_store,
    default_uri,
    opened_store,
)
from orchestrator.registry import Registry
from search_spaces.ablations import VARIANTS
from search_spaces.presets import PRESETS
from trainables.store import Store

USAGE_ERROR = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(words: Sequence[str] | None = None) -> int:
    """The exit code of the command that `words` ask for."""
    try:
        interrupts.listen()
        args = _parser().parse_args(words)
        code: int = args.command(args)
        return code
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m orchestrator.run", description="Ablation studies of diffusion models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    ablations = commands.add_parser("ablations", help="run the variants, and show what each one changes")
    ablations.set_defaults(command=_ablations)
    _add_study(ablations)
    _add_limits(ablations)
    _add_place(ablations)
    report = commands.add_parser("report", help="show a study's table again, from MLflow")
    report.set_defaults(command=_report)
    report.add_argument("name", help="the study's name")
    _add_place(report)
    store = commands.add_parser("store", help="list the stored artefacts with size and age, or prune them")
    store.set_defaults(command=_store)
    store.add_argument("--prune", action="store_true", help="remove what no study refers to")
    store.add_argument("--forget", metavar="STUDY", help="take a study's references away first")
    _add_place(store)
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--preset", default="quick", help=f"the baseline to start from: {', '.join(PRESETS)} (default: quick)")
    add(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="SEED",
        help="one training of each variant a seed (default: 0)",
    )
    add("--variants", nargs="+", metavar="NAME", help="only these, and the baseline (default: all)")
    add("--set", action="append", default=[], metavar="SETTING=VALUE", dest="settings", help="change the baseline")
    add("--variant", action="append", default=[], metavar="'NAME: SETTING=VALUE, ...'", help="add a variant")
    add("--variants-file", type=Path, metavar="FILE", help="add variants from a YAML file")
    add("--name", help="the study's name (default: made from the preset and the settings)")
    add(
        "--gpus-per-trial",
        type=float,
        metavar="N",
        help="GPUs of each trial, or a share of one (default: 1 if there is one)",
    )
    add("--cpus-per-trial", type=int, default=1, metavar="N", help="CPU cores of each trial (default: 1)")
    add("--max-concurrent", type=int, default=0, metavar="N", help="trials at once (default: as many as fit)")
    add("--dry-run", action="store_true", help="show the trials and what they cost, and run none")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add, default = parser.add_argument, Limits()
    add("--fresh", action="store_true", help="begin anew beside what the store has; nothing is deleted")
    add("--address", default="local", help="Ray cluster to run on (default: local, a Ray of its own on this machine)")
    add(
        "--max-retries", type=int, default=default.max_retries, metavar="N",
        help=f"times that a trial is tried again after its worker was lost (default: {default.max_retries})",
    )  # fmt: skip
    add(
        "--stall-limit", type=float, default=default.stall_limit_s, metavar="SECONDS",
        help=f"silence after which a trial counts as lost (default: {default.stall_limit_s:g})",
    )  # fmt: skip
    add(
        "--checkpoint-interval", type=float, default=default.checkpoint_interval_s, metavar="SECONDS",
        help=f"between checkpoints (default: {default.checkpoint_interval_s:g})",
    )  # fmt: skip


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--storage", type=Path, default=Path("runs"), help="the folder for everything (default: runs)")
    parser.add_argument("--tracking-uri", help="MLflow's store or server (default: SQLite in the storage folder)")
    parser.add_argument("--store", help="folder or URI of the artefacts (default: store/ in the storage folder)")


def _ablations(args: argparse.Namespace) -> int:
    study, resources, limits = _study(args), _resources(args), _limits(args)
    check_address(args.address)
    place = _place(args)
    if args.dry_run:
        from orchestrator.dry_run import show_plan

        registry = Registry(place.store)
        root = registry.root_of(registry.generation(study.name) + args.fresh)
        show_plan(study, Store(root), resources)
        return 0
    if args.tracking_uri:
        check_uri(args.tracking_uri)
    if args.store:
        place = replace(place, store=check_store(args.store))
    check_storage(args.storage)
    from orchestrator.ablations import run

    return run(study, place, resources, limits, args.fresh, args.address)


def _report(args: argparse.Namespace) -> int:
    place = _place(args)
    if not args.tracking_uri and not (args.storage / "mlflow.db").exists():
        raise UsageError(f"--storage: no study has been run in {args.storage}")
    check_uri(place.tracking_uri)
    from orchestrator.ablations import show
    from orchestrator.screen import console

    try:
        show(args.name, place, console())
    except LookupError as error:
        raise UsageError(str(error)) from None
    return 0


def _store(args: argparse.Namespace) -> int:
    from orchestrator.artefacts import prune, show

    registry = Registry(_place(args).store)
    if args.forget and not registry.forget(args.forget):
        raise UsageError(
            f"--forget: no study {args.forget!r} in {registry.root}; it has: {', '.join(registry.studies())}"
        )
    prune(registry) if args.prune else show(registry)
    return 0


def _place(args: argparse.Namespace) -> Place:
    if not str(args.storage).strip("./ ") or ":" in str(args.storage).partition("/")[0]:
        raise UsageError(f"--storage: must be a folder of its own, but got '{args.storage}'; --store takes a URI")
    if args.store:
        opened_store(args.store)
    return Place(
        args.storage, args.tracking_uri or default_uri(args.storage), args.store or default_store(args.storage)
    )


def _limits(args: argparse.Namespace) -> Limits:
    for name, least in (("max_retries", 0), ("stall_limit", 1), ("checkpoint_interval", 0)):
        if not getattr(args, name) >= least:
            raise UsageError(f"--{name.replace('_', '-')}: must be at least {least}, but got {getattr(args, name):g}")
    return Limits(args.max_retries, args.stall_limit, args.checkpoint_interval)


def _study(args: argparse.Namespace) -> plan.Study:
    new = list(plan.read_variants(args.variants_file).items()) if args.variants_file else []
    new += [plan.parse_variant(text) for text in args.variant]
    variants = plan.with_new(VARIANTS, new)
    # A variant that the command line spells out is meant to run, whatever --variants leaves out.
    chosen = [*args.variants, *(name for name, _ in new)] if args.variants else None
    if args.name is not None and not plan.NAME.fullmatch(args.name):
        raise UsageError(f"--name: must be {plan.NAME_RULE}, but got {args.name!r}")
    return plan.build(args.preset, args.seeds, plan.parse_settings(args.settings), variants, chosen, args.name)


def _resources(args: argparse.Namespace) -> Resources:
    have_gpus, have_cpus = len(gpus()), cpus()
    wanted = args.gpus_per_trial if args.gpus_per_trial is not None else float(have_gpus > 0)
    if not math.isfinite(wanted) or wanted < 0 or (wanted > 1 and wanted != int(wanted)):
        raise UsageError(f"--gpus-per-trial: must be 0, a part of 1 or a whole number, but got {wanted:g}")
    if args.address == "local" and wanted > have_gpus:
        raise UsageError(f"--gpus-per-trial: must be at most {have_gpus}, the GPUs of this machine, but got {wanted:g}")
    if not 1 <= args.cpus_per_trial <= have_cpus:
        raise UsageError(
            f"--cpus-per-trial: must be 1 to {have_cpus}, the cores of this machine, but got {args.cpus_per_trial}"
        )
    if args.max_concurrent < 0:
        raise UsageError(f"--max-concurrent: must be 0 (as many as fit) or more, but got {args.max_concurrent}")
    return Resources(args.cpus_per_trial, wanted, args.max_concurrent)


if __name__ == "__main__":
    sys.exit(main())
