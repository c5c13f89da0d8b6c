"""What modules of a network put out, by their names: for features of any network, also one that we did not write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from trainables.own_parts import PartError


class _Enough(Exception):
    """All that was asked for is there: the rest of the forward need not run."""


def named_modules(network: nn.Module, patterns: Iterable[str]) -> list[str]:
    """The names of the network's modules that the patterns stand for, in the order of the patterns, then the network's.

    Args:
        patterns: names as in `network.named_modules()`; `*` stands for anything but a dot.

    Raises:
        PartError: a pattern that stands for none.
    """
    known, found = [name for name, _ in network.named_modules() if name], dict[str, None]()
    for pattern in patterns:
        matching = re.compile(re.escape(pattern).replace(r"\*", "[^.]*"))
        names = [name for name in known if matching.fullmatch(name)]
        if not names:
            top = ", ".join(dict.fromkeys(name.split(".")[0] for name in known))
            raise PartError(f"segmentation.blocks: the network has no module {pattern}; at its top are {top}")
        found |= dict.fromkeys(names)
    return list(found)


def module_outputs(network: nn.Module, patterns: Iterable[str], x_t: Tensor, t: Tensor) -> dict[int | str, Tensor]:
    """The outputs of modules in one forward, each (B, C, h, w), in the patterns' order; it stops after the last.

    A module that is called twice is read the first time; of several outputs the first is taken.

    Args:
        patterns: as for `named_modules`.
        x_t: noisy images, (B, C, H, W).
        t: timesteps, (B,).

    Raises:
        PartError: a pattern that stands for no module, or a module that the forward does not call or that puts out no
            map.
    """
    wanted, found = named_modules(network, patterns), dict[str, Tensor]()

    def reader(name: str) -> Callable[..., None]:
        def read(module: nn.Module, inputs: object, output: object) -> None:
            found.setdefault(name, _map(name, output))
            if len(found) == len(wanted):
                raise _Enough

        return read

    handles = [network.get_submodule(name).register_forward_hook(reader(name)) for name in wanted]
    try:
        network(x_t, t)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    for name in wanted:
        if name not in found:
            raise PartError(f"segmentation.blocks: the network's forward does not call its module {name}")
    return {name: found[name] for name in wanted}


def _map(name: str, output: object) -> Tensor:
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, Tensor) or first.dim() != 4 or first.shape[2] != first.shape[3]:
        shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise PartError(f"segmentation.blocks: the module {name} puts out {shape}, not square maps (B, C, h, h)")
    return first.clone()  # what comes after it may work in place
