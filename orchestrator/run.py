"""The command line: `python -m orchestrator.run ablations`. Reads the words, checks them, and only then starts.

Exit codes: 0 all trials ended well, 1 one failed, 2 the request cannot be, 130 stopped by the person.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from orchestrator import interrupts, plan
from orchestrator.cluster import set_environment
from orchestrator.conditions import Conditions
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
from orchestrator.preflight import look_at_data, look_at_networks, with_checkpoint
from orchestrator.registry import Registry
from search_spaces.segmentation import HEAT_MAP_TIMESTEPS
from search_spaces.spaces import ABLATIONS, SEGMENTATION, Space
from trainables.claims import Claims
from trainables.inputs import Inputs
from trainables.store import Store

OK, USAGE_ERROR = 0, 2
SEARCHES = ("segmentation",)  # of search_spaces.tuning, which imports Optuna


class _Parser(argparse.ArgumentParser):
    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(words: Sequence[str] | None = None) -> int:
    """The exit code of the command that `words` ask for."""
    try:
        interrupts.listen()
        set_environment()  # before anything imports Ray or MLflow, which read it then
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
    for space, what in (
        (ABLATIONS, "run the variants, and show what each one changes"),
        (SEGMENTATION, "run the segmentation configurations on one DDPM, or on a pretrained one"),
    ):
        study = commands.add_parser(space.name, help=what)
        study.set_defaults(command=_run, space=space, checkpoint=None, heat_map=())
        _add_study(study, space)
        _add_limits(study)
        _add_place(study)
        if space is SEGMENTATION:
            _add_segmentation(study)
    check = commands.add_parser("check", help="look for what would fail later, on every node of the Ray cluster")
    check.set_defaults(command=_check, space=ABLATIONS, checkpoint=None, heat_map=())
    _add_study(check, ABLATIONS)
    _add_limits(check)
    _add_place(check)
    search = commands.add_parser("search", help="let Optuna look for the best configuration, point by point")
    search.set_defaults(
        command=_search, checkpoint=None, heat_map=(), variants=[plan.BASELINE], variant=[], variants_file=None
    )
    search.set_defaults(fresh=False, dry_run=False, seeds=None)
    search.add_argument("--space", required=True, choices=list(SEARCHES), help="what may vary")
    search.add_argument("--trials", type=int, required=True, metavar="N", help="points in all, earlier ones counted")
    search.add_argument("--seed", type=int, default=0, help="of the one DDPM that is trained (default: 0)")
    _add_baseline(search, SEGMENTATION)
    _add_resources(search)
    _add_limits(search)
    _add_place(search)
    report = commands.add_parser("report", help="show a study's table again, from MLflow")
    report.set_defaults(command=_report)
    report.add_argument("name", help="the study's name")
    _add_place(report)
    ui = commands.add_parser("ui", help="open MLflow's page of this machine's studies, or of a cluster's")
    ui.set_defaults(command=_ui)
    ui.add_argument("--cluster", type=Path, metavar="FILE", help="the cluster's file, for a tunnel to its head")
    ui.add_argument("--port", type=int, default=5000, help="on this machine (default: 5000)")
    _add_place(ui)
    store = commands.add_parser("store", help="list the stored artefacts with size and age, or prune them")
    store.set_defaults(command=_store)
    store.add_argument("--prune", action="store_true", help="remove what no study refers to")
    store.add_argument("--forget", metavar="STUDY", help="take a study's references away first")
    _add_place(store)
    return parser


def _add_baseline(parser: argparse.ArgumentParser, space: Space) -> None:
    add = parser.add_argument
    add("--preset", default="quick", help=f"the baseline to start from: {', '.join(space.presets)} (default: quick)")
    add("--dataset", metavar="NAME", help="short for --set data.dataset=NAME: digits, mnist, voc, folder, bedroom28")
    add("--data-root", type=Path, metavar="FOLDER", help="where the data are (default: $ABLATION_DATA, else a cache)")
    add("--set", action="append", default=[], metavar="SETTING=VALUE", dest="settings", help="change the baseline")
    add("--name", help="the study's name (default: made from the preset and the settings)")
    add("--dry-run", action="store_true", help="show the trials and what they cost, and run none")
    if space is SEGMENTATION:
        add("--checkpoint", type=Path, metavar="FILE", help="weights of a pretrained network (preset bedroom)")


def _add_study(parser: argparse.ArgumentParser, space: Space) -> None:
    add = parser.add_argument
    _add_baseline(parser, space)
    add(
        "--seeds", type=int, nargs="+", default=[0], metavar="SEED",
        help="one training of each variant a seed (default: 0)",
    )  # fmt: skip
    add("--variants", nargs="+", metavar="NAME", help="only these, and the baseline (default: all)")
    add("--variant", action="append", default=[], metavar="'NAME: SETTING=VALUE, ...'", help="add a variant")
    add("--variants-file", type=Path, metavar="FILE", help="add variants from a YAML file")
    add("--fresh", action="store_true", help="begin anew beside what the store has; nothing is deleted")
    _add_resources(parser)


def _add_resources(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--gpus-per-trial", type=float, metavar="N",
        help="GPUs of each trial, or a share of one (default: 1 if there is one)",
    )  # fmt: skip
    add("--gpu-hour-price", type=float, default=0.0, metavar="X", help="of one GPU, for the table's money")
    add("--cpus-per-trial", type=int, default=1, metavar="N", help="CPU cores of each trial (default: 1)")
    add("--max-concurrent", type=int, default=0, metavar="N", help="trials at once (default: as many as fit)")


def _add_segmentation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--heat-map", type=int, nargs="*", default=None, metavar="T",
        help="timesteps at which each block is tried alone; none: no heat map "
        f"(default: {' '.join(map(str, HEAT_MAP_TIMESTEPS))})",
    )  # fmt: skip


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add, default = parser.add_argument, Limits()
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


def _run(args: argparse.Namespace) -> int:
    check_address(args.address)
    request, resources, limits = _request(args, args.space, args.seeds), _resources(args), _limits(args)
    place = _place(args)
    if args.dry_run:
        from orchestrator.dry_run import show_plan

        study = plan.build(request)
        registry = Registry(place.store)
        root = registry.root_of(registry.generation(study.name) + args.fresh)
        show_plan(study, Store(root), resources)
        return 0
    study, place = _checked(args, request, place, plan.build)
    from orchestrator.study import run

    conditions = Conditions(study.inputs, place.store, resources, limits, args.gpu_hour_price)
    return run(study, place, conditions, args.fresh, args.address)


def _check(args: argparse.Namespace) -> int:
    check_address(args.address)
    request, resources = _request(args, args.space, args.seeds), _resources(args)
    study, place = _checked(args, request, _place(args), plan.build)
    from orchestrator.check import check, show

    found = check(study, place, resources, args.address, thorough=True)
    show(found)
    return OK if all(finding.ok for finding in found) else USAGE_ERROR


def _search(args: argparse.Namespace) -> int:
    if args.trials < 1:
        raise UsageError(f"--trials: must be at least 1, but got {args.trials}")
    check_address(args.address)
    request, resources, limits = _request(args, SEGMENTATION, [args.seed]), _resources(args), _limits(args)
    baseline = plan.baseline(request)
    if not baseline.segmentation.validation_images:
        raise UsageError("segmentation.validation_images must be at least 1 for a search, which chooses by them")
    from search_spaces.tuning import SPACES, ranges

    space, build = SPACES[args.space](baseline), partial(plan.search, objective="validation_miou")
    if args.dry_run:
        from orchestrator.dry_run import show_search

        study, place = build(request), _place(args)
        show_search(study, ranges(space), args.trials, Store(Registry(place.store).root_of(0)), resources)
        return 0
    study, place = _checked(args, request, _place(args), build)
    from orchestrator import search

    conditions = Conditions(study.inputs, place.store, resources, limits, args.gpu_hour_price)
    return search.run(study, space, args.trials, place, conditions, args.address)


def _checked(
    args: argparse.Namespace, request: plan.Request, place: Place, build: Callable[[plan.Request], plan.Study]
) -> tuple[plan.Study, Place]:
    """The study, its data looked at, and its place, proved to be writable: nothing is made before all else is known."""
    if args.tracking_uri:
        check_uri(args.tracking_uri)
    plan.draft(request)
    look_at_data(request)
    study = build(request)
    look_at_networks(study)
    if args.store:
        place = replace(place, store=check_store(args.store))
    check_storage(args.storage)
    return study, place


def _report(args: argparse.Namespace) -> int:
    place = _place(args)
    _refuse_empty(args)
    check_uri(place.tracking_uri)
    from orchestrator.screen import console
    from orchestrator.study import show

    try:
        show(args.name, place, console())
    except LookupError as error:
        raise UsageError(str(error)) from None
    return 0


def _ui(args: argparse.Namespace) -> int:
    from orchestrator import ui

    place = _place(args)
    if args.cluster is None:
        _refuse_empty(args)
    return ui.run(place.tracking_uri, args.port, args.cluster)


def _refuse_empty(args: argparse.Namespace) -> None:
    if not args.tracking_uri and not (args.storage / "mlflow.db").exists():
        raise UsageError(f"--storage: no study has been run in {args.storage}")


def _store(args: argparse.Namespace) -> int:
    from orchestrator.artefacts import prune, show

    registry = Registry(_place(args).store)
    if args.forget is not None and (holder := Claims(registry.store).holder(f"study-{args.forget}")):
        who = f"process {holder['pid']} on {holder['host']}"
        raise UsageError(f"--forget: the study {args.forget} is being run by {who}")
    if args.forget is not None and not registry.forget(args.forget):
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


def _request(args: argparse.Namespace, space: Space, seeds: Sequence[int]) -> plan.Request:
    if args.name is not None and not plan.NAME.fullmatch(args.name):
        raise UsageError(f"--name: must be {plan.NAME_RULE}, but got {args.name!r}")
    settings = plan.parse_settings(args.settings)
    if args.dataset:
        settings |= plan.parse_settings([f"data.dataset={args.dataset}"], "--dataset")
    new = list(plan.read_variants(args.variants_file).items()) if args.variants_file else []
    new += [plan.parse_variant(text) for text in args.variant]
    if args.data_root is not None and not str(args.data_root).strip("."):
        raise UsageError("--data-root: must be a folder of its own, but got ''")
    data_root = args.data_root or (Path(os.environ["ABLATION_DATA"]) if os.environ.get("ABLATION_DATA") else None)
    request = plan.Request(
        space=space,
        preset=args.preset,
        seeds=seeds,
        settings=settings,
        new=new,
        chosen=args.variants,
        name=args.name,
        heat_map=args.heat_map if args.heat_map is None else tuple(dict.fromkeys(args.heat_map)),
        inputs=Inputs(data_root and data_root.resolve(), args.checkpoint and args.checkpoint.resolve()),
    )
    return with_checkpoint(request)


def _resources(args: argparse.Namespace) -> Resources:
    local, wanted = args.address == "local", args.gpus_per_trial
    if wanted is None and not local:
        raise UsageError("--gpus-per-trial: must be given with --address; 0 for trials on CPUs")
    if wanted is None:
        wanted = float(len(gpus()) > 0)
    if not math.isfinite(wanted) or wanted < 0 or (wanted > 1 and wanted != int(wanted)):
        raise UsageError(f"--gpus-per-trial: must be 0, a part of 1 or a whole number, but got {wanted:g}")
    if local and wanted > len(gpus()):
        most = len(gpus())
        raise UsageError(f"--gpus-per-trial: must be at most {most}, the GPUs of this machine, but got {wanted:g}")
    if args.cpus_per_trial < 1 or (local and args.cpus_per_trial > cpus()):
        allowed = f"1 to {cpus()}, the cores of this machine" if local else "at least 1"
        raise UsageError(f"--cpus-per-trial: must be {allowed}, but got {args.cpus_per_trial}")
    if not 0 <= args.gpu_hour_price < math.inf:
        raise UsageError(f"--gpu-hour-price: must be a finite number from 0 on, but got {args.gpu_hour_price:g}")
    if args.gpu_hour_price and not wanted:
        raise UsageError("--gpu-hour-price: these trials use no GPU; drop it, or give --gpus-per-trial")
    if args.max_concurrent < 0:
        raise UsageError(f"--max-concurrent: must be 0 (as many as fit) or more, but got {args.max_concurrent}")
    return Resources(args.cpus_per_trial, wanted, args.max_concurrent)


if __name__ == "__main__":
    sys.exit(main())
