"""Which replica makes room for a version that is asked for and has none. Pure.

Those go first that crash again and again, then those that nobody used for longest, then further replicas of versions
that are used, and only for requests that wait the one that has had its turn for longest: so that all that is asked for
takes turns where it doesn't fit at once.
"""

from __future__ import annotations

import math

from services.registry.domain.fleet import Use

LEAST_IDLE_S = 1.0
"""A version that had a request more recently is in use: callers who wait for an answer ask again."""
LEAST_STAY_S = 1.0
"""So long a replica stays once it takes requests, used or not: whoever had it loaded may come again."""
TURN_S = 5.0
"""So long one that is used stays while others wait: a few times as long as a load takes."""
LEAST_WAIT_S = 1.0
"""So long others wait before one that is used goes: who just lost its turn is not to take the next one's at once."""

INSISTENT = Use(unsettled=1, asked_s=math.inf)
"""As if requests waited: how a pinned version asks."""


def rank(
    victim: Use, asker: Use, *, ready_s: float | None, is_failing: bool, is_surplus: bool
) -> tuple[int, float] | None:
    """How soon a replica makes room for an asker, the least first; None: it stays.

    ``ready_s`` is how long it has taken requests, None for one that loads; ``is_surplus``: its version has others.
    """
    if is_failing:
        return 0, 0.0
    if ready_s is None or ready_s < LEAST_STAY_S:
        return None
    if not victim.unsettled and victim.idle_s >= LEAST_IDLE_S:
        is_due = asker.unsettled > 0 or victim.idle_s > asker.idle_s
        return (1, -victim.idle_s) if is_due else None
    if asker.unsettled and is_surplus:
        return 2, -ready_s
    if asker.unsettled and ready_s >= TURN_S and (asker.asked_s or 0.0) >= LEAST_WAIT_S:
        return 3, -ready_s
    return None


def urgency(use: Use, *, is_pinned: bool) -> tuple[int, float]:
    """Which of several versions gets room first, the least first."""
    if is_pinned:
        return 0, 0.0
    if use.asked_s is None:
        return 3, 0.0
    return (1, -use.asked_s) if use.unsettled else (2, use.idle_s if math.isfinite(use.idle_s) else 0.0)
