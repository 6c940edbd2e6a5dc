"""Which of two versions gets a request that may go to either."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from services.gateway.domain.plans import Choice, Plan
from services.gateway.domain.splits import place_of

Headers = Callable[[], Iterable[tuple[str, str | bytes]]]
"""What a caller said beside its request, names in lower case."""


class Drawn(NamedTuple):
    """What becomes of a request. Where it is the candidate's, ``refuge`` is what else may be done with it."""

    plan: Plan
    is_drawn: bool = True
    refuge: Plan | None = None
    is_copied: bool = False
    """Whether the candidate gets a copy, once it is answered."""


def draw(
    plan: Plan, choice: Choice, headers: Headers | None, *, now: float, lot: Callable[[], float] = random.random
) -> Drawn:
    """Draw for a request with the baseline's ``plan``; ``now`` is monotonic, ``lot`` gives numbers from 0 to below 1.

    A candidate that nobody serves gets nothing: then nobody chose the baseline either.
    """
    split = choice.split
    if split.candidate_share > 0:
        key = _key_of(choice, headers) if split.sticky_key else ""
        if (place_of(key, split.model) if key else lot()) < split.candidate_share:
            if split.candidate.can_be_drawn(now=now):
                return Drawn(choice.candidate, refuge=plan)
            return Drawn(plan, is_drawn=False)
    is_copied = split.shadow_share > 0 and not plan.lane.version.is_decoupled and lot() < split.shadow_share
    return Drawn(plan, is_copied=is_copied)


def _key_of(choice: Choice, headers: Headers | None) -> str | bytes:
    """The caller's sticky key: from metadata or headers, else from the request's parameters; empty: there is none."""
    wanted = choice.split.sticky_key.lower()
    for name, value in headers() if headers is not None else ():
        if name == wanted and value:
            return value
    return choice.key
