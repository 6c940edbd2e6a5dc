"""Which spans come when they should: those that are late, come twice, have no parent, or are of another time."""

from __future__ import annotations

from collections import Counter, OrderedDict

from services.monitor.domain.blocks import NS, PLAUSIBLE_AGE_NS
from services.monitor.domain.detectors import LATENESS_S
from services.monitor.domain.ring import KeptSpan

WATERMARK_LAG_NS = (LATENESS_S + 1) * NS
"""How far the instant up to which seconds are judged is behind the clock."""
FUTURE_TOLERANCE_NS = NS
"""Clocks of machines that are kept in time differ by less."""
PARENT_WAIT_NS = 30 * NS
"""How long a parent may take to come after its child."""
MAX_WAITING = 20_000
"""Parents that are waited for at once; beyond it the oldest are given up, and counted as not known."""


class Punctuality:
    """Counts irregular spans, and remembers which parents are still to come. Bounded to ``MAX_WAITING``."""

    def __init__(self) -> None:
        self.irregular: Counter[str] = Counter(late=0, past=0, future=0, duplicate=0, orphan=0, untraced=0)
        """Spans by what is irregular about them.

        late: ended before the watermark, so they count in figures and were not judged; past, future: say that they
        ended more than ``PLAUSIBLE_AGE_NS`` ago or later than they came, and count as of now; duplicate: came before;
        orphan: the parent, a span of Penstock's, never came; untraced: the wait for a parent was given up.
        """
        self.watermark_ns = 0
        """Seconds that ended before are judged."""
        self._waiting: OrderedDict[tuple[bytes, bytes], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        """Parents that are waited for."""
        return len(self._waiting)

    def begin(self, now_ns: int) -> None:
        """A chunk of spans is to follow."""
        self.watermark_ns = max(self.watermark_ns, now_ns - WATERMARK_LAG_NS)
        if self.watermark_ns > now_ns:  # The clock was set back.
            self.watermark_ns = now_ns - WATERMARK_LAG_NS

    def see(self, span: KeptSpan, *, now_ns: int) -> None:
        """Look at a new span's time."""
        age_ns = now_ns - span.end_ns
        if age_ns < -FUTURE_TOLERANCE_NS:
            self.irregular["future"] += 1
        elif age_ns > PLAUSIBLE_AGE_NS:
            self.irregular["past"] += 1
        elif span.end_ns < self.watermark_ns:
            self.irregular["late"] += 1
        # What came may be what others wait for.
        if self._waiting:
            self._waiting.pop((span.trace_id, span.span_id), None)

    def await_parent(self, span: KeptSpan, *, now_ns: int) -> None:
        """The parent of a span isn't here yet."""
        key = span.trace_id, span.parent_id
        children, until_ns = self._waiting.get(key, (0, now_ns + PARENT_WAIT_NS))
        self._waiting[key] = children + 1, until_ns
        if len(self._waiting) > MAX_WAITING:
            self.irregular["untraced"] += self._waiting.popitem(last=False)[1][0]

    def expire(self, *, now_ns: int) -> int:
        """Give up the parents that should have come; return how many spans are orphans by that."""
        orphans = 0
        while self._waiting:
            key, (children, until_ns) = next(iter(self._waiting.items()))
            if now_ns < until_ns <= now_ns + PARENT_WAIT_NS:
                break
            del self._waiting[key]
            orphans += children
        self.irregular["orphan"] += orphans
        return orphans
