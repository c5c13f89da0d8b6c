"""The words of the command line: the options of every command, in groups, and what they stand for."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster.cores import cpus
from orchestrator.cluster.resources import Limits, Resources, gpus
from orchestrator.errors import UsageError
from orchestrator.planning.match import MATCHES
from orchestrator.planning.names import BASELINE, check_study_name
from orchestrator.planning.settings import Request, parse_settings, parse_variant, read_variants
from orchestrator.planning.study_file import asked
from orchestrator.program import PROGRAM
from orchestrator.storage.locations import Locations, default_store, default_uri, opened_store
from orchestrator.usage import Parser, usage
from search_spaces.designs import DESIGNS
from search_spaces.segmentation import HEAT_MAP_TIMESTEPS
from search_spaces.spaces import ABLATIONS, SEGMENTATION, Space
from trainables.inputs import Inputs

SEARCHES = ("segmentation",)  # of search_spaces.tuning, which imports Optuna


def parser() -> argparse.ArgumentParser:
    """What reads the words; `command` is the name of the one that is asked for."""
    whole = Parser(prog=PROGRAM, description="Ablation studies of diffusion models.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, what: str, **defaults: Any) -> argparse.ArgumentParser:
        description = f"{what[0].upper()}{what[1:]}."
        added = commands.add_parser(name, examples_of=name, usage=usage(name), help=what, description=description)
        added.set_defaults(command=name, checkpoint=None, heat_map=(), study=None, suite=None, match=None, **defaults)
        added.set_defaults(design=None, components=None, pairs=None)
        return added

    _add_study(command(ABLATIONS.name, "run the variants, and show what each one changes"), ABLATIONS)
    segmentation = "run the segmentation configurations on one DDPM, or on a pretrained one"
    _add_study(command(SEGMENTATION.name, segmentation), SEGMENTATION)
    _add_study(command("check", "look for what would fail later, on every node of the Ray cluster"), ABLATIONS)
    nothing_more: dict[str, Any] = {"variants": [BASELINE], "variant": [], "variants_file": None, "fresh": False}
    search = "let Optuna look for the best configuration, point by point"
    _add_search(command("search", search, seeds=None, **nothing_more))
    report = command("report", "show a study's table again, from MLflow")
    report.add_argument("name", help="the study's name")
    report.add_argument(
        "--json", metavar="FILE",
        help="write the table as one JSON object too; -: alone to standard output, all else to standard error",
    )  # fmt: skip
    _add_places(report)
    gate = command(
        "gate", "exit with 0 where a study shows that a variant is not worse than the baseline by more, else 1"
    )
    gate.add_argument("name", help="the study's name")
    gate.add_argument("--metric", required=True, metavar="NAME", help="such as fid or miou")
    gate.add_argument("--variant", required=True, metavar="NAME", help="that is compared with the baseline")
    gate.add_argument(
        "--within", required=True, metavar="MARGIN",
        help="how much worse is allowed: 2%% of the baseline's mean, or 0.01 in the metric's unit",
    )  # fmt: skip
    _add_places(gate)
    ui = command("ui", "open MLflow's page of this machine's studies, or of a cluster's")
    ui.add_argument("--cluster", type=Path, metavar="FILE", help="the cluster's file, for a tunnel to its head")
    ui.add_argument("--port", type=int, default=5000, help="on this machine (default: 5000)")
    _add_places(ui)
    store = command("store", "list the stored artefacts with size and age, or prune them")
    store.add_argument("--prune", action="store_true", help="remove what no study refers to")
    store.add_argument("--forget", metavar="STUDY", help="take a study's references away first")
    _add_places(store)
    command("schema", "print the JSON schema of study files, with which an editor completes and checks them")
    new = command("new", "make a folder with a block of one's own and a study that compares it")
    new.add_argument("name", help="the folder's, and the study's")
    return whole


def _add_study(parser: argparse.ArgumentParser, space: Space) -> None:
    parser.add_argument("study", type=Path, nargs="?", metavar="FILE", help="the study as a file; words win over it")
    add = _add_baseline(parser, space)
    add(
        "--seeds", type=int, nargs="+", metavar="SEED",
        help="one training of each variant a seed (default: 0)",
    )  # fmt: skip
    if space.suites:
        suites = ", ".join(space.suites)
        add("--suite", metavar="NAME", help=f"other variants to choose from: {suites} (default: the report's five)")
    if space is ABLATIONS:
        add(
            "--match", choices=list(MATCHES),
            help="scale each variant's widths until its network has as many parameters, or operations a forward, as "
            "the baseline's",
        )  # fmt: skip
    add(
        "--design", choices=list(DESIGNS),
        help="which variants run together (default: one-at-a-time; factorial: every combination; fraction: half of "
        "them; leave-one-out: all together, and without each)",
    )  # fmt: skip
    add("--components", nargs="+", metavar="NAME", help="the variants that the design combines (default: all that run)")
    add("--pairs", nargs="+", metavar="NAME+NAME", help="run two variants together too, such as adagn+cosine")
    add(
        "--detect", metavar="PERCENT", help="run nothing: how many seeds it takes to see such a difference, such as 2%%"
    )
    add("--variants", nargs="+", metavar="NAME", help="only these, and the baseline (default: all)")
    add("--variant", action="append", default=[], metavar="'NAME: SETTING=VALUE, ...'", help="add a variant")
    add("--variants-file", type=Path, metavar="FILE", help="add variants from a YAML file")
    if parser.get_default("command") != "check":
        add("--fresh", action="store_true", help="begin anew beside what the store has; nothing is deleted")
        add("--accept-code", action="store_true", help="use what other code made from the same settings as it is")
    if space is SEGMENTATION:
        add(
            "--heat-map", type=int, nargs="*", default=None, metavar="T",
            help="timesteps at which each block is tried alone; none: no heat map "
            f"(default: {' '.join(map(str, HEAT_MAP_TIMESTEPS))})",
        )  # fmt: skip
    _add_machine(parser)


def _add_search(parser: argparse.ArgumentParser) -> None:
    add = _add_baseline(parser, SEGMENTATION)
    add("--space", required=True, choices=list(SEARCHES), help="what may vary")
    add("--trials", type=int, required=True, metavar="N", help="points in all, earlier ones counted")
    add("--seed", type=int, default=0, help="of the one DDPM that is trained (default: 0)")
    _add_machine(parser)


def _add_baseline(parser: argparse.ArgumentParser, space: Space) -> Any:
    """What adds more words to the group in which these are."""
    add = parser.add_argument_group("study").add_argument
    add("--preset", help=f"the baseline to start from: {', '.join(space.presets)} (default: quick)")
    add(
        "--dataset",
        metavar="NAME",
        help="short for --set data.dataset=NAME: digits, mnist, fashion_mnist, cifar10, voc, folder, bedroom28",
    )
    add("--set", action="append", default=[], metavar="SETTING=VALUE", dest="settings", help="change the baseline")
    add("--name", help="the study's name (default: made from the preset and the settings)")
    if parser.get_default("command") != "check":
        add("--dry-run", action="store_true", help="show the trials and what they cost, and run none")
    return add


def _add_machine(parser: argparse.ArgumentParser) -> None:
    add, default = parser.add_argument_group("resources").add_argument, Limits()
    add("--address", default="local", help="Ray cluster to run on (default: local, a Ray of its own on this machine)")
    add(
        "--gpus-per-trial", type=float, metavar="N",
        help="GPUs of each trial, or a share of one (default: 1 if there is one)",
    )  # fmt: skip
    add("--gpu-hour-price", type=float, default=0.0, metavar="X", help="of one GPU, for the table's money")
    add("--cpus-per-trial", type=int, default=1, metavar="N", help="CPU cores of each trial (default: 1)")
    add(
        "--deterministic", action=argparse.BooleanOptionalAction, default=None,
        help="figures that do not depend on the cores (one thread a trial on a CPU) or, on one kind of GPU, on the "
        "run; slower on a GPU (default: on a CPU)",
    )  # fmt: skip
    add("--max-concurrent", type=int, default=0, metavar="N", help="trials at once (default: as many as fit)")
    add = parser.add_argument_group("limits").add_argument
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
    add = _add_places(parser)
    add(
        "--data-root", type=Path, metavar="FOLDER",
        help="where the data are; a .npz of images will do (default: $ABLATION_DATA, else a cache)",
    )  # fmt: skip
    if parser.get_default("command") in (SEGMENTATION.name, "check", "search"):
        add("--checkpoint", type=Path, metavar="FILE", help="weights of a pretrained network (preset bedroom)")


def _add_places(parser: argparse.ArgumentParser) -> Any:
    """What adds more words to the group in which these are."""
    add = parser.add_argument_group("places").add_argument
    add("--storage", type=Path, default=Path("runs"), help="the folder for everything (default: runs)")
    add("--tracking-uri", help="MLflow's store or server (default: SQLite in the storage folder)")
    add("--store", help="folder or URI of the artefacts (default: store/ in the storage folder)")
    return add


def locations(args: argparse.Namespace) -> Locations:
    """Where the words say that things are kept; nothing is made or looked for yet.

    Raises:
        UsageError: a place that cannot be.
    """
    if not str(args.storage).strip("./ ") or ":" in str(args.storage).partition("/")[0]:
        raise UsageError(f"--storage: must be a folder of its own, but got '{args.storage}'; --store takes a URI")
    if args.store:
        opened_store(args.store)
    uri, store = args.tracking_uri or default_uri(args.storage), args.store or default_store(args.storage)
    return Locations(args.storage, uri, store)


def limits(args: argparse.Namespace) -> Limits:
    """The limits that the words set.

    Raises:
        UsageError: one that cannot be.
    """
    for name, least in (("max_retries", 0), ("stall_limit", 1), ("checkpoint_interval", 0)):
        if not getattr(args, name) >= least:
            raise UsageError(f"--{name.replace('_', '-')}: must be at least {least}, but got {getattr(args, name):g}")
    return Limits(args.max_retries, args.stall_limit, args.checkpoint_interval)


def request(args: argparse.Namespace, space: Space, seeds: Sequence[int] | None) -> Request:
    """The study that the words ask for, laid over their study file.

    Args:
        seeds: None for those of the file.

    Raises:
        UsageError: words that cannot be read.
    """
    if args.name is not None:
        check_study_name(args.name)
    settings = parse_settings(args.settings)
    if args.dataset:
        settings |= parse_settings([f"data.dataset={args.dataset}"], "--dataset")
    new = list(read_variants(args.variants_file).items()) if args.variants_file else []
    new += [parse_variant(text) for text in args.variant]
    words = {
        "preset": args.preset,
        "suite": args.suite,
        "match": args.match,
        "design": args.design,
        "components": args.components,
        "pairs": args.pairs,
        "seeds": seeds,
        "settings": settings or None,
        "chosen": args.variants,
        "name": args.name,
        "heat_map": args.heat_map,
    }
    return asked(space, args.study, words, new, inputs(args))


def inputs(args: argparse.Namespace) -> Inputs:
    """Where the words say that this machine's data and checkpoint are.

    Raises:
        UsageError: a folder that cannot be, or is not there.
    """
    if args.data_root is not None and not str(args.data_root).strip("."):
        raise UsageError("--data-root: must be a folder of its own, but got ''")
    if args.data_root is not None and not (args.data_root.is_dir() or _is_npz(args.data_root)):
        raise UsageError(f"--data-root: there is no folder {args.data_root}, and no such .npz file")
    data_root = args.data_root or (Path(os.environ["ABLATION_DATA"]) if os.environ.get("ABLATION_DATA") else None)
    return Inputs(data_root and data_root.resolve(), args.checkpoint and args.checkpoint.resolve())


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz" and path.is_file()


def resources(args: argparse.Namespace) -> Resources:
    """What each trial gets.

    Raises:
        UsageError: what this machine does not have, or nobody could have.
    """
    local, wanted = args.address == "local", args.gpus_per_trial
    if wanted is None and not local:
        raise UsageError("--gpus-per-trial: must be given with --address; 0 for trials on CPUs")
    if wanted is None:
        wanted = float(len(gpus()) > 0)
    if not math.isfinite(wanted) or wanted < 0 or (wanted > 1 and wanted != int(wanted)):
        raise UsageError(f"--gpus-per-trial: must be 0, a part of 1 or a whole number, but got {wanted:g}")
    if local and wanted and wanted > len(gpus()):
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
    deterministic = not wanted if args.deterministic is None else args.deterministic
    return Resources(args.cpus_per_trial, wanted, args.max_concurrent, deterministic)
