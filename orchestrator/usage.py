"""How a command is called: its usage line, its examples, and a parser whose help shows them."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from orchestrator.errors import UsageError
from orchestrator.program import PROGRAM
from search_spaces.spaces import ABLATIONS, SEGMENTATION

# Of the commands that take words of their own.
USAGE = {"report": "report NAME", "new": "new NAME", "search": "search --space SPACE --trials N"}
USAGE["gate"] = "gate NAME --metric NAME --variant NAME --within MARGIN"
USAGE |= {name: f"{name} [FILE]" for name in (ABLATIONS.name, SEGMENTATION.name, "check")}
EXAMPLES = {
    "": ("ablations --seeds 0 1 2", "segmentation --preset own --data-root photos"),
    "ablations": (
        "ablations my_study.yaml",
        "ablations --preset own --data-root photos",
        "ablations --variants adagn --variant 'wide: unet.base_channels=32'",
        "ablations --design factorial --components adagn cosine --seeds 0 1 2",
    ),
    "segmentation": ("segmentation my_study.yaml --seeds 0 1 2", "segmentation --preset own --data-root photos"),
    "check": ("check my_study.yaml", "check --address auto --gpus-per-trial 1 --store s3://bucket/store"),
    "search": ("search --space segmentation --trials 50", "search --space segmentation --trials 50 --dry-run"),
    "report": ("report my-study", "report my-study --json -", "report my-study --tracking-uri http://127.0.0.1:5000"),
    "gate": ("gate my-study --metric fid --variant mine --within 2%",),
    "ui": ("ui", "ui --cluster cluster.yaml --port 5001"),
    "store": ("store", "store --forget my-study --prune"),
    "schema": ("schema > study.schema.json",),
    "new": ("new my-study",),
}


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors are ours and whose help ends with the command's examples."""

    def __init__(self, *words: Any, examples_of: str = "", **settings: Any) -> None:
        lines = "\n".join(f"  {PROGRAM} {example}" for example in EXAMPLES[examples_of])
        raw = argparse.RawDescriptionHelpFormatter
        settings |= {"allow_abbrev": False, "formatter_class": raw, "epilog": f"examples:\n{lines}"}
        super().__init__(*words, **settings)

    def error(self, message: str) -> NoReturn:
        """Raises a `UsageError` with argparse's message."""
        raise UsageError(message)


def usage(command: str) -> str:
    """The usage line of a command; argparse's own lists every option twice."""
    return f"{PROGRAM} {USAGE.get(command, command)} [option ...]"
