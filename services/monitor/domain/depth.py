"""Which of two alarms lies behind the other: what is closer to what is to be repaired."""

from __future__ import annotations

from services.monitor.domain.phases import DEEPEST_FIRST, FAMILIES, Cause, Family, Phase, Signal

_RANKS = {
    Signal.STUCK: 0,
    Signal.DEAD: 1,
    Signal.NONFINITE: 2,
    Signal.LATENCY: 3,
    Signal.QUEUEING: 4,
}
"""What is deeper, of two with the same cause; other signals come after these."""
_USUAL = (Cause.REPLICA, Cause.VERSION, Cause.INPUTS, Cause.ARRIVALS)
_CAUSES = {
    Family.CONTENT: (Cause.INPUTS, Cause.REPLICA, Cause.VERSION, Cause.ARRIVALS),
    Family.PROBES: (Cause.VERSION, Cause.REPLICA, Cause.INPUTS, Cause.ARRIVALS),
}
"""The deepest first, where that is another order than the usual one."""


def depth(signal: Signal, phase: Phase | None, cause: Cause) -> tuple[int, int, int]:
    """The lower, the deeper; only to be compared within a family of signals.

    Of answers, inputs are the cause that lies behind; of durations, a replica is; and where all replicas fail their
    golden probes, it is the version.
    """
    causes, rank = _CAUSES.get(FAMILIES[signal], _USUAL), _RANKS.get(signal, len(_RANKS))
    # Whatever makes requests wait is deeper than that they wait.
    is_flow = signal is Signal.LATENCY and phase in (Phase.QUEUE, Phase.TOTAL)
    return len(causes) if is_flow else causes.index(cause), rank, 0 if phase is None else DEEPEST_FIRST.index(phase)
