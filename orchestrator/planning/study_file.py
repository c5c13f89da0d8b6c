"""A study as a file: what a person writes in YAML, and words laid over it. Imports no Ray.

Settings are named with dots there as everywhere, so that an editor completes each of them with its range and default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from orchestrator.errors import UsageError
from orchestrator.planning.names import BASELINE, NAME, NAME_RULE, check_variant_name, is_cell
from orchestrator.planning.settings import Request, read_yaml
from search_spaces.spaces import ABLATIONS, SEGMENTATION, SPACES, Space
from trainables.config import PARTS_WITH_ARGS, Config, Overrides
from trainables.inputs import NOWHERE, Inputs
from trainables.sections import Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The settings of a section and of those inside it, by dotted name."""
    for name, field in section.model_fields.items():
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if _is_section(t)]
        if inner:
            yield from _fields(inner[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


FIELDS = {name: field for name, field in _fields(Config) if name != "seed"}
_Settings: type[Section] = create_model(
    "Settings",
    __base__=Section,
    __doc__="Changes of the baseline, or of a variant from it; the defaults are those of no preset.",
    **{name: (field.annotation, field) for name, field in FIELDS.items()},  # type: ignore[call-overload]
)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as they are written, once each has been looked at by itself."""
    for name, value in settings.items():
        if name == "seed":
            raise ValueError("the seed is given by seeds")
        if any(known.startswith(f"{name}.") for known in FIELDS):
            inner = next(iter(value), "") if isinstance(value, dict) else ""
            example = next((k for k in FIELDS if k == f"{name}.{inner}"), None) or _first_of(name)
            raise ValueError(f"{name} is a section; write its settings with dots, such as {example}: ...")
        if name not in FIELDS and name.rpartition(".")[0] not in ARGS:
            siblings = [known for known in FIELDS if known.startswith(f"{name.partition('.')[0]}.")]
            raise ValueError(_unknown("setting", name, list(FIELDS), siblings))
    try:
        _Settings.model_validate({name: value for name, value in settings.items() if name in FIELDS})
    except ValidationError as error:
        raise ValueError(_one_line(error)) from None
    return settings


# Of parts of one's own, whose arguments are settings too: unet.block_args.slope.
ARGS = tuple(f"{part}_args" for part in PARTS_WITH_ARGS)


def _first_of(section: str) -> str:
    return next(name for name in FIELDS if name.startswith(f"{section}."))


def _named(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"must be {NAME_RULE}, but got {name!r}")
    return name


Settings = Annotated[dict[str, Any], AfterValidator(_checked)]
Number = Annotated[int, Field(strict=True, ge=0)]
SUITES: dict[str, Any] = {"enum": [None, *sorted({suite for space in SPACES.values() for suite in space.suites})]}
PRESETS: dict[str, Any] = {"enum": sorted({preset for space in SPACES.values() for preset in space.presets})}


class StudyFile(BaseModel):
    """A study, as `ablations` and `segmentation` run it; what is left out is as on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Literal["ablations", "segmentation"] | None = Field(default=None, description="that runs it")
    name: Annotated[str, AfterValidator(_named)] | None = Field(
        default=None, description=f"of the study, {NAME_RULE}; left out: made from the preset and the settings"
    )
    preset: str = Field(default=Request.preset, description="the baseline to start from", json_schema_extra=PRESETS)
    suite: str | None = Field(
        default=None,
        description="of ablations: the variants to choose from",
        json_schema_extra=SUITES,
    )
    match: Literal["parameters", "flops"] | None = Field(
        default=None,
        description="of ablations: what the variants' widths are scaled to have as much of as the baseline",
    )
    design: Literal["one-at-a-time", "leave-one-out", "factorial", "fraction"] = Field(
        default="one-at-a-time", description="which of the variants run together"
    )
    components: list[str] | None = Field(
        default=None, description="the variants that the design combines; left out: all that would run"
    )
    pairs: list[str] | None = Field(default=None, description="further cells of two variants, adagn+cosine")
    seeds: list[Number] = Field(
        default=list(Request.seeds), min_length=1, description="one training of each variant a seed"
    )
    settings: Settings = Field(default={}, description="changes of the baseline, and with it of every variant")
    variants: dict[str, Settings] = Field(
        default={}, description="of one's own: name -> changes; one with a known name stands in its place"
    )
    chosen: list[str] | None = Field(
        default=None, min_length=1, description="those of the preset's variants that run too; left out: all"
    )
    heat_map: list[Number] | None = Field(
        default=None, description="of segmentation: timesteps at which each block is tried alone; []: no heat map"
    )


def asked(
    space: Space,
    path: Path | None,
    words: Mapping[str, Any],
    spelt_out: Iterable[tuple[str, Overrides]],
    inputs: Inputs = NOWHERE,
    file: StudyFile | None = None,
) -> Request:
    """The request of the words, laid over those of the study file.

    Args:
        path: the file's; None for words alone.
        words: what they give, by the file's keys; None where they say nothing. Settings are laid over one by one.
        spelt_out: variants, laid over those of the file one by one.
        file: what the file holds, where it is known, or what stands in its place.

    Raises:
        UsageError: as `read`.
    """
    file = file or (read(path, space) if path else StudyFile())
    given = {key: word for key, word in words.items() if word is not None}
    laid = file.model_copy(update=given)
    own, new = _laid_over(file.variants, spelt_out)
    chosen = laid.chosen
    if chosen is not None:  # --variants leaves out those of the file, but none that another word spells out
        chosen = [*chosen, *(n for n in own if "chosen" not in given or own[n] is not file.variants[n])]
    heat_map = laid.heat_map if space is SEGMENTATION else ()
    return Request(
        space=space,
        preset=laid.preset,
        suite=laid.suite,
        match=laid.match,
        seeds=laid.seeds,
        design=laid.design,
        components=laid.components,
        pairs=laid.pairs or (),
        settings={**file.settings, **laid.settings},
        own=own,
        new=new,
        chosen=chosen,
        name=laid.name,
        heat_map=heat_map if heat_map is None else tuple(dict.fromkeys(heat_map)),
        inputs=inputs,
        file=path,
        of_file=frozenset(file.model_fields_set - given.keys() if path else ()),
    )


def _laid_over(
    own: Mapping[str, Overrides], spelt_out: Iterable[tuple[str, Overrides]]
) -> tuple[dict[str, Overrides], list[tuple[str, Overrides]]]:
    """The file's own variants with those that are spelt out anew, and those that it does not know."""
    changed, new = dict(own), list[tuple[str, Overrides]]()
    for name, delta in spelt_out:
        if name in own and changed[name] is own[name]:
            changed[name] = delta
        else:
            new.append((name, delta))
    return changed, new


def space_of(path: Path) -> Space:
    """What the file says that it is a study of; ablations where it does not say.

    Raises:
        UsageError: the file is not there, or is no YAML.
    """
    content = read_yaml(path, str(path))
    command = content.get("command") if isinstance(content, dict) else None
    return SEGMENTATION if command == SEGMENTATION.name else ABLATIONS


def read(path: Path, space: Space) -> StudyFile:
    """The study that the file holds.

    Raises:
        UsageError: the file is not there, is of another form or of another command, or holds what cannot be; the text
            names the file and the key.
    """
    return checked(read_yaml(path, str(path)), str(path), space)


def checked(content: Any, path: str, space: Space) -> StudyFile:
    """The study that is said by a file's content, or by a program in the same form.

    Args:
        path: how an error calls it.

    Raises:
        UsageError: as `read`.
    """
    keys = list(StudyFile.model_fields)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must hold a study, one key a line; allowed: {', '.join(keys)}")
    for key in content:
        if key not in keys:
            raise UsageError(f"{path}: {_unknown('key', key, keys)}")
    try:
        file = StudyFile.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {_one_line(error)}") from None
    if file.command not in (None, space.name):
        raise UsageError(f"{path}: command: the file is for {file.command}, but {space.name} was asked for")
    if file.heat_map is not None and space is not SEGMENTATION:
        raise UsageError(f"{path}: heat_map: only segmentation has one")
    for name in file.variants:
        try:
            if not is_cell(name):  # a cell's parts are known variants; which they are, the request tells
                check_variant_name(name, (BASELINE,))
        except UsageError as error:
            raise UsageError(f"{path}: variants: {error}") from None
    return file


def _unknown(what: str, name: object, known: Sequence[str], nearer: Sequence[str] = ()) -> str:
    """What is said of a name that there is not: the nearest one, or those that there are."""
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(nearer or known)}"
    return f"unknown {what} {name!r}; {hint}"


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int) and part != "[key]")
    if first["loc"] and first["loc"][-1] == "[key]":
        return f"{where}: a name such as no or 1 needs quotes, but got {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {message[0].lower()}{message[1:]}, but got {first['input']!r}"


def schema() -> dict[str, Any]:
    """The JSON schema of such files, for editors."""
    made = {"$schema": DIALECT} | StudyFile.model_json_schema()
    made["$defs"] = {"Settings": _Settings.model_json_schema()}  # to pydantic they are any dictionary
    arguments = rf"^({'|'.join(map(re.escape, ARGS))})\.[A-Za-z_]\w*$"
    made["$defs"]["Settings"]["patternProperties"] = {arguments: {}}
    keys, settings = made["properties"], {"$ref": "#/$defs/Settings"}
    keys["settings"] = settings | {"description": keys["settings"]["description"], "default": {}}
    keys["variants"]["additionalProperties"] = settings
    return made
