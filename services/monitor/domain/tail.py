"""Which traces go on to Jaeger: decided when their spans had time to come, by what those say.

What was sampled where it began goes on. Of the rest, those that are worth looking at do, under a cap, and a few
innocent ones beside them, to compare with.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from services.monitor.domain.blocks import NS
from services.monitor.domain.ring import KeptSpan

MAX_PENDING = 50_000
"""Traces not decided on yet; beyond it the oldest are decided on early."""
MAX_REMEMBERED = 20_000
"""Traces that went on lately, whose late spans follow them."""
MAX_SUBJECTS = 1_000
CONTRAST_PERIOD_NS = 60 * NS


class Reason(IntEnum):
    """Why a trace goes on, the weakest reason first."""

    NONE = 0
    CONTRAST = 1
    SLOW = 2
    CANARY = 3
    ERROR = 4
    HEAD = 5
    PROBE = 6
    INCIDENT = 7

    @property
    def label(self) -> str:
        return self.name.lower()


_UNCAPPED = frozenset({Reason.HEAD, Reason.INCIDENT})
"""Those who sampled it had a cap of their own; an incident names a handful."""
_FRUGAL = frozenset({Reason.CONTRAST, Reason.SLOW, Reason.CANARY})
"""These leave half of the allowance to stronger reasons."""


_OTHER_RESULTS = ("linked", "capped", "lost")


class Decision(NamedTuple):
    """A trace goes on."""

    trace_id: bytes
    reason: Reason


class _Pending:
    __slots__ = ("reason", "seen_ns", "subject")

    def __init__(self, seen_ns: int, subject: str) -> None:
        self.seen_ns = seen_ns
        self.subject = subject
        self.reason = Reason.NONE


class Tail:
    """Decides on traces ``delay_ns`` after their first span came. Single-threaded, bounded, without a clock."""

    def __init__(self, *, delay_ns: int, traces_per_second: float, contrasts_per_minute: int) -> None:
        """``traces_per_second`` caps what goes on for reasons found here; ``contrasts_per_minute`` is for each model
        version and each service of another make.
        """
        self.results: Counter[str] = Counter(dict.fromkeys([*(one.label for one in Reason), *_OTHER_RESULTS], 0))
        """Traces decided on, by why they went on; "none" and "capped" did not, "lost" were gone by then."""
        self._delay_ns = delay_ns
        self._rate = traces_per_second
        self._burst = max(2.0, 2 * traces_per_second)
        self._tokens = self._burst
        self._filled_ns = 0
        self._contrasts_per_minute = contrasts_per_minute
        self._contrasts: Counter[str] = Counter()
        self._contrasts_since_ns = 0
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()
        self._kept: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        """Traces not decided on yet."""
        return len(self._pending)

    def see(self, span: KeptSpan, reason: Reason, *, subject: str, now_ns: int) -> bool:
        """Note a span, and the reason that it gives; True if its trace went on before, so that it is to follow.

        ``subject`` is what its trace may be an innocent example of; "" for nothing.
        """
        trace_id = span.trace_id
        if trace_id in self._kept:
            return True
        pending = self._pending.get(trace_id)
        if pending is None:
            pending = self._pending[trace_id] = _Pending(now_ns, subject)
        pending.reason = max(pending.reason, reason)
        pending.subject = pending.subject or subject
        return False

    def keep(self, trace_ids: Iterable[bytes], reason: Reason) -> Iterator[Decision]:
        """Let traces go on at once, whatever was decided before, unless they did already."""
        for trace_id in trace_ids:
            if trace_id not in self._kept:
                self._pending.pop(trace_id, None)
                yield self._decided(trace_id, reason)

    def due(self, now_ns: int, *, at_once: bool = False) -> Iterator[Decision]:
        """The traces that go on of those whose time has come, for strong reasons first; ``at_once``: of all.

        Those that :meth:`follow` is told of meanwhile need no decision any more.
        """
        self._refill(now_ns)
        ripe: list[tuple[bytes, _Pending]] = []
        while self._pending:
            trace_id, pending = next(iter(self._pending.items()))
            is_early = 0 <= now_ns - pending.seen_ns < self._delay_ns
            if is_early and not at_once and len(self._pending) <= MAX_PENDING:
                break
            ripe.append((trace_id, self._pending.pop(trace_id)))
        ripe.sort(key=lambda one: -one[1].reason)
        for trace_id, pending in ripe:
            if trace_id not in self._kept and (reason := self._judged(pending)) is not Reason.NONE:
                yield self._decided(trace_id, reason)

    def _judged(self, pending: _Pending) -> Reason:
        reason = pending.reason
        if reason is Reason.NONE and self._wants_contrast(pending.subject):
            reason = Reason.CONTRAST
        if reason is Reason.NONE:
            self.results[reason.label] += 1
        if reason is Reason.NONE or reason in _UNCAPPED:
            return reason
        if self._tokens < (1 + self._burst / 2 if reason in _FRUGAL else 1):
            self.results["capped"] += 1
            return Reason.NONE
        self._tokens -= 1
        if reason is Reason.CONTRAST:
            self._contrasts[pending.subject] += 1
        return reason

    def _wants_contrast(self, subject: str) -> bool:
        has_room = subject in self._contrasts or len(self._contrasts) < MAX_SUBJECTS
        return subject != "" and has_room and self._contrasts[subject] < self._contrasts_per_minute

    def _decided(self, trace_id: bytes, reason: Reason) -> Decision:
        self.results[reason.label] += 1
        self._kept[trace_id] = None
        if len(self._kept) > MAX_REMEMBERED:
            self._kept.popitem(last=False)
        return Decision(trace_id, reason)

    def follow(self, trace_ids: Iterable[bytes]) -> list[bytes]:
        """Traces that one that goes on is linked to go on too, and later spans of theirs follow; which are new."""
        new = [trace_id for trace_id in trace_ids if trace_id not in self._kept]
        for trace_id in new:
            self._pending.pop(trace_id, None)
            self._kept[trace_id] = None
            self.results["linked"] += 1
        while len(self._kept) > MAX_REMEMBERED:
            self._kept.popitem(last=False)
        return new

    def _refill(self, now_ns: int) -> None:
        elapsed_s = max(0, now_ns - self._filled_ns) / NS
        self._tokens = min(self._burst, self._tokens + elapsed_s * self._rate)
        self._filled_ns = now_ns
        if not 0 <= now_ns - self._contrasts_since_ns < CONTRAST_PERIOD_NS:
            self._contrasts.clear()
            self._contrasts_since_ns = now_ns
