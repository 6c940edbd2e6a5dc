"""Why a request is not taken now, and when to come again."""

from __future__ import annotations

import math

from services.common.errors import UnavailableError

PENDING_BYTES_FULL = "PENDING_BYTES_FULL"
_LONGEST_S = 60
_PROCESS_STARTS_IN_S = 5


def whole_seconds(seconds: float) -> int:
    """What a caller is told: at least a second, at most a minute."""
    return max(1, min(_LONGEST_S, math.ceil(seconds)))


def no_live_process(lane: str) -> UnavailableError:
    return UnavailableError(f"{lane} has no live process", reason="NO_LIVE_PROCESS", retry_after_s=_PROCESS_STARTS_IN_S)


def load_failed(lane: str, reason: str) -> UnavailableError:
    return UnavailableError(
        f"{lane} was asleep and does not load: {reason}", reason="LOAD_FAILED", retry_after_s=_PROCESS_STARTS_IN_S
    )


def queue_full(lane: str, *, unsettled: int, places: int, drained_in_s: float) -> UnavailableError:
    """In Triton's words."""
    return UnavailableError(
        f"Exceeds maximum queue size: {lane} has {unsettled} requests waiting or running, expected less than {places}",
        reason="QUEUE_FULL",
        retry_after_s=whole_seconds(drained_in_s),
    )


def deadline_unreachable(
    lane: str, *, rows: int, rate: float, wait_s: float, timeout_s: float, possible_in_s: float
) -> UnavailableError:
    return UnavailableError(
        f"Request timeout would expire: {lane} has {rows} rows waiting or running before this request, answers about "
        f"{rate:.3g} a second, and would take about {wait_s:.3g} s, expected less than {timeout_s:.3g} s",
        reason="DEADLINE_UNREACHABLE",
        retry_after_s=whole_seconds(possible_in_s),
    )


def fair_share_used_up(lane: str, *, rows: int, drained_in_s: float) -> UnavailableError:
    return UnavailableError(
        f"Exceeds fair share of the queue: several callers want more of {lane} than there is, and this one has {rows} "
        "rows waiting or running, its share or more",
        reason="FAIR_SHARE_USED_UP",
        retry_after_s=whole_seconds(drained_in_s),
    )


def memory_full(size: int, *, held: int, limit: int) -> UnavailableError:
    return UnavailableError(
        f"Exceeds maximum pending bytes: the gateway holds requests of {held} bytes, got one of {size}, "
        f"expected at most {limit} together",
        reason=PENDING_BYTES_FULL,
        retry_after_s=1,
    )
