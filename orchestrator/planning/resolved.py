"""A study as it was run, as a file that runs it again. Imports no Ray."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from orchestrator.planning.names import BASELINE
from orchestrator.planning.settings import Request
from orchestrator.planning.study_file import StudyFile
from search_spaces.spaces import SEGMENTATION, SPACES
from trainables.config import Config, Overrides, flatten


def resolved(
    request: Request,
    name: str,
    baseline: Config,
    deltas: Mapping[str, Overrides],
    heat_map: tuple[int, ...],
    components: Sequence[str] | None = None,
) -> StudyFile:
    """The study with every name and setting written out, so that no later default changes it.

    Args:
        deltas: of the variants that run, the baseline's aside, and of those that its cells combine.
        components: that its design combines; None where it has no cells.
    """
    settings = flatten(baseline)
    del settings["seed"]
    if baseline.pretrained is None:
        del settings["pretrained"]
    return StudyFile(
        command=request.space.name,  # type: ignore[arg-type]
        name=name,
        preset=request.preset,
        match=request.match,  # type: ignore[arg-type]
        design=request.design,  # type: ignore[arg-type]
        components=None if components is None else list(components),
        pairs=list(request.pairs) or None,
        seeds=list(dict.fromkeys(request.seeds)),
        settings={setting: _plain(value) for setting, value in settings.items()},
        variants={variant: {s: _plain(v) for s, v in delta.items()} for variant, delta in deltas.items()},
        chosen=[BASELINE],
        heat_map=list(heat_map) if request.space is SEGMENTATION else None,
    )


def written(file: StudyFile, options: Sequence[str] = (), own_files: Sequence[str] = ()) -> str:
    """The text of a resolved file, with what differs from its preset first.

    Args:
        options: what the command line must say beside the file: where this machine keeps what the study reads.
        own_files: the paths of the person's own code that it names.
    """
    assert file.command
    preset = flatten(SPACES[file.command].presets[file.preset]())
    changed = {name: value for name, value in file.settings.items() if _plain(preset.get(name)) != value}
    same = {name: value for name, value in file.settings.items() if name not in changed}
    head = file.model_dump(exclude={"settings", "variants"}, exclude_none=True)
    lines = [
        "# The study as it was run. Again:",
        f"#   {' '.join(['python -m orchestrator.run', file.command, 'study.yaml', *options])}",
        *([f"# from a folder that has {', '.join(own_files)}, which are kept beside this file."] if own_files else []),
        *_lines(head),
        "settings:",
        *([f"  # other than the preset {file.preset}", *_lines(changed, "  ")] if changed else []),
        f"  # as the preset {file.preset}",
        *_lines(same, "  "),
        "variants:" if file.variants else "variants: {}",
        *_lines(file.variants, "  "),
    ]
    return "\n".join(lines) + "\n"


class _Dumper(yaml.SafeDumper):
    """Plain YAML whose texts are texts to every reader: to some, 1e5 without quotes is a number."""

    def text(self, value: str) -> yaml.ScalarNode:
        """The text, in quotes unless it begins with a letter."""
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=None if value[:1].isalpha() else "'")


_Dumper.add_representer(str, _Dumper.text)


def _lines(mapping: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A line a key, whatever is in it."""
    for key, value in mapping.items():
        text = yaml.dump({key: value}, Dumper=_Dumper, default_flow_style=True, width=sys.maxsize, sort_keys=False)
        yield indent + text.strip()[1:-1]  # without the braces


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
