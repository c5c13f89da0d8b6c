"""`--match`: each variant's widths are scaled until its network is of the baseline's size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from orchestrator.errors import UsageError
from orchestrator.planning.settings import Request
from results.size import SIZES, more_or_fewer, share
from search_spaces.spaces import ABLATIONS
from trainables.config import Config, ConfigError, Overrides, apply
from trainables.data import About
from trainables.network_cost import network_cost

MATCHES = {"parameters": "parameters", "flops": "forward_flops"}  # what may be matched -> its name among `SIZES`
WITHIN = 0.03  # of the baseline's: so near is matched
LIMIT = 0.10  # what cannot be brought so near is refused
LARGEST = 64  # times the widths that a variant has
STEPS = 8  # halvings of the scale
WIDTHS = {"unet.base_channels", "unet.channels"}

Widths = tuple[int, ...]


def check_match(request: Request) -> None:
    """Passes if the request asks for a match of what has one.

    Raises:
        UsageError: it asks for another command's, or for what there is not.
    """
    where = request.told("match", "--match")
    if request.match is not None and request.match not in MATCHES:
        raise UsageError(f"{where}: must be {' or '.join(MATCHES)}, but got {request.match!r}")
    if request.match is not None and request.space is not ABLATIONS:
        raise UsageError(f"{where}: only {ABLATIONS.name} has one")


def matched(name: str, config: Config, delta: Overrides, baseline: Config, facts: About, match: str) -> Overrides:
    """The variant's changes, with the widths that bring it nearest to the baseline's size where it is not near.

    A network of the person's own, and a variant whose changes are widths, stay as they are.

    Args:
        delta: its changes without them.
        match: one of `MATCHES`.

    Raises:
        UsageError: no widths bring it within 10 %, or the baseline's size is not known.
        PartError: as `network_cost`.
    """
    far = _share(config, baseline, facts, match)
    if math.isnan(far):
        raise UsageError(f"variant {name}: --match {match}: no {_words(match)} of the baseline's network are known")
    if config.network != "unet" or WIDTHS & delta.keys() or abs(far) <= WITHIN:
        return delta

    def by(widths: Widths) -> float:
        try:
            return _share(apply(config, {"unet.channels": widths}), baseline, facts, match)
        except ConfigError:  # there are none so small, as with qk_norm and one channel a head
            return math.inf

    step = math.lcm(config.unet.norm_groups, config.unet.attention_heads)
    widths = _nearest(config.unet.level_channels, step, by)
    if abs(by(widths)) > LIMIT:
        raise UsageError(
            f"variant {name}: --match {match}: must come within {100 * LIMIT:.0f} % of the baseline, but the nearest "
            f"unet.channels, {list(widths)}, have {more_or_fewer(by(widths), 1)} {_words(match)}"
        )
    return delta if widths == config.unet.level_channels else {**delta, "unet.channels": list(widths)}


def unmatched(config: Config, baseline: Config, facts: About, match: str) -> Iterator[str]:
    """The remark on a variant that is not within 3 % of the baseline's size."""
    by = _share(config, baseline, facts, match)
    if abs(by) > WITHIN:
        told = f"unet.channels {list(config.unet.level_channels)}"
        of = told if config.network == "unet" else f"{config.network}, whose widths --match does not know"
        yield f"not matched within 3 %: {more_or_fewer(by, 2)} {_words(match)} than the baseline, with {of}"


def _words(match: str) -> str:
    return SIZES[MATCHES[match]]


def _share(config: Config, baseline: Config, facts: About, match: str) -> float:
    """What the network has more than the baseline's, as a share of it."""
    own, other = (getattr(network_cost(c, facts), MATCHES[match]) for c in (config, baseline))
    return share(own, other)


def _nearest(widths: Widths, step: int, by: Callable[[Widths], float]) -> Widths:
    """Multiples of `step` at one scale of `widths` whose size is nearest to the baseline's.

    The scale is halved in between. Where its roundings are too coarse each level is rounded up or down by itself.

    Args:
        by: what a network of such widths has more than the baseline's, as a share.
    """

    def rounded(scale: float) -> Widths:
        return tuple(max(step, step * round(scale * width / step)) for width in widths)

    low, high = 1.0, 1.0
    while by(rounded(low)) > 0 and max(rounded(low)) > step:
        low /= 2
    while by(rounded(high)) < 0 and high < LARGEST:
        high *= 2
    tried = [rounded(low), rounded(high)]
    for _ in range(STEPS):
        scale = math.sqrt(low * high)
        tried.append(rounded(scale))
        low, high = (low, scale) if by(tried[-1]) > 0 else (scale, high)
    nearest = min(tried, key=lambda widths: abs(by(widths)))
    if abs(by(nearest)) <= WITHIN:
        return nearest
    exact = [low * width / step for width in widths]
    levels = [{max(1, math.floor(n)), math.ceil(n)} for n in exact]
    either = [tuple(step * n for n in numbers) for numbers in itertools.product(*map(sorted, levels))]
    # Of those that are near enough, the one whose shape is most like the variant's.
    return min([nearest, *either], key=lambda found: (max(abs(by(found)), WITHIN), _bent(found, exact)))


def _bent(widths: Widths, exact: Sequence[float]) -> float:
    """How much the levels are scaled unlike each other: the logarithm of the largest scale over the smallest."""
    ratios = [width / n for width, n in zip(widths, exact, strict=True)]
    return math.log(max(ratios) / min(ratios))
