"""Words -> what is asked for: settings, variants and their YAML, and the request that they make up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UsageError
from search_spaces.designs import ONE_AT_A_TIME
from search_spaces.spaces import Space
from trainables.config import Overrides
from trainables.inputs import NOWHERE, Inputs


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Args:
        space: what can be asked for.
        preset: the baseline to start from.
        match: what of the variants' networks is brought to the baseline's: parameters or flops; None for nothing.
        suite: the variants to choose from; None for the preset's own.
        seeds: one training of each variant a seed.
        settings: changes of the baseline, and with it of every variant.
        own: variants of the study file; they may have the names of the space's, in whose place they stand then.
        new: further variants of the person's own.
        chosen: the variants to run; None for all. The baseline is always in.
        design: which of the variants run together, of `search_spaces.designs.DESIGNS`.
        components: the variants that the design combines; None for those that would run one at a time.
        pairs: further cells of two variants, `adagn+cosine`.
        name: of the study; None for one made from the preset, the suite and the settings.
        heat_map: timesteps at which each block is tried alone; () for no heat map, None for the usual ones.
        inputs: where this machine's data and checkpoint are.
        notes: what was found on them that a person should know.
        file: that the study was read from; None where it is of words alone.
        of_file: the keys that the file says and no word of the command line changes.
    """

    space: Space
    preset: str = "quick"
    suite: str | None = None
    match: str | None = None
    seeds: Sequence[int] = (0,)
    settings: Overrides = field(default_factory=dict)
    own: Mapping[str, Overrides] = field(default_factory=dict)
    new: Sequence[tuple[str, Overrides]] = ()
    chosen: Sequence[str] | None = None
    design: str = ONE_AT_A_TIME
    components: Sequence[str] | None = None
    pairs: Sequence[str] = ()
    name: str | None = None
    heat_map: Sequence[int] | None = ()
    inputs: Inputs = NOWHERE
    notes: tuple[str, ...] = ()
    file: Path | None = None
    of_file: frozenset[str] = frozenset()

    @property
    def crosses(self) -> bool:
        """Whether some variants run together."""
        return self.design != ONE_AT_A_TIME or self.components is not None or bool(self.pairs)

    def told(self, key: str, option: str) -> str:
        """Where the person said it: the key of the study file, or the option."""
        return f"{self.file}: {key}" if key in self.of_file else option


def parse_settings(texts: Iterable[str], what: str = "--set") -> dict[str, Any]:
    """Overrides from texts such as `unet.base_channels=48`; the values are read as YAML.

    Raises:
        UsageError: a text without a name or a value.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        setting, equals, value = text.partition("=")
        setting = setting.strip()
        if not equals or not setting or not value.strip():
            raise UsageError(f"{what}: must be setting=value, for example unet.base_channels=48, but got {text!r}")
        if setting in settings:
            raise UsageError(f"{what}: {setting} is given twice")
        if setting == "seed":
            raise UsageError(f"{what}: the seed is given by --seeds")
        settings[setting] = _yaml(value, f"{what} {setting}")
    return settings


def parse_variant(text: str) -> tuple[str, dict[str, Any]]:
    """Name and overrides from `wide: unet.base_channels=96, training.learning_rate=1e-4`.

    Raises:
        UsageError: a text of another form.
    """
    name, colon, rest = text.partition(":")
    if not colon or not rest.strip():
        raise UsageError(f"--variant: must be 'name: setting=value, ...', but got {text!r}")
    # Commas inside brackets belong to a value: segmentation.blocks=[6, 7].
    parts = re.split(r",(?![^\[(]*[\])])", rest)
    return name.strip(), parse_settings((p for p in parts if p.strip()), f"--variant {name.strip()}")


def read_variants(path: Path) -> dict[str, dict[str, Any]]:
    """Variants from a YAML file: `name: {setting: value, ...}`, one a line.

    Raises:
        UsageError: the file is not there, or is of another form.
    """
    content = read_yaml(path, f"--variants-file {path}")
    if not isinstance(content, dict) or not all(_is_delta(*pair) for pair in content.items()):
        raise UsageError(
            f"--variants-file {path}: must map each variant's name to its settings, {{setting: value}}; a name such as "
            "no or 1 needs quotes"
        )
    return content


def read_yaml(path: Path, where: str) -> Any:
    """What the file holds.

    Args:
        where: how an error calls the file.

    Raises:
        UsageError: the file is not there, or is no YAML.
    """
    try:
        return _yaml(path.read_text(encoding="utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: {getattr(error, 'strerror', None) or 'not a text file'}") from None


def _is_delta(name: object, delta: object) -> bool:
    return isinstance(name, str) and isinstance(delta, dict) and all(isinstance(setting, str) for setting in delta)


def described(delta: Overrides) -> str:
    """A delta as a person writes it: `unet.block=convnext`."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in delta.items()) or "-"


def _plain(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise UsageError(f"{where}: not valid YAML: nested too deeply") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


INT, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """YAML with YAML 1.2's numbers, as people mean them; it refuses a key given twice, of which it would take the last.

    To YAML 1.1 010 is 8, 1:30 is 90 and 1e4 a text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} is given twice")
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag not in (INT, FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(INT, re.compile(r"[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    FLOAT, re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"), list("-+.0123456789")
)
_Loader.add_constructor(INT, lambda _, node: int(node.value))
