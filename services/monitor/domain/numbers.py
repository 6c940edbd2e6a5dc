"""Answers that are no numbers, which is no matter of chance: told by a rule, as soon as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from services.monitor.domain.blocks import Block
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Cause, Signal
from services.monitor.domain.replica import MAX_REPLICAS

LEAST_REQUESTS = 3
WINDOWS = ((13, 0.003), (120, 0.0005))
"""Seconds, and the share of their requests that is an alarm: many, or few again and again."""
_KEPT_S = WINDOWS[-1][0] + 10

_Seconds = dict[int, Counter[str]]
"""Requests by second and replica."""


@dataclass(slots=True)
class NumberDetector:
    """Watches one version and its replicas. ``alarmed`` is the replica at fault, "" for all; None while none is.

    Bounded: two minutes, and ``MAX_REPLICAS`` in each second; the others' requests are nobody's.
    """

    alarmed: str | None = None
    _window_s: int = WINDOWS[0][0]
    """Of the alarm: so long there must be none until it is over."""
    _requests: _Seconds = field(default_factory=dict)
    _wrong: _Seconds = field(default_factory=dict)
    """Those whose answers are no numbers; nothing of seconds without any."""

    def add(self, block: Block) -> None:
        if not block.executions:
            return
        if block.second not in self._requests:
            self._forget(block.second - _KEPT_S)
        requests = self._requests.setdefault(block.second, Counter())
        name = block.instance if block.instance in requests or len(requests) < MAX_REPLICAS else ""
        requests[name] += block.told
        if block.answers.nonfinite:
            self._wrong.setdefault(block.second, Counter())[name] += block.answers.nonfinite

    def _forget(self, before: int) -> None:
        for seconds in (self._requests, self._wrong):
            for second in [second for second in seconds if second < before]:
                del seconds[second]

    def restart(self) -> None:
        """Forget all seconds; an alarm goes on."""
        self._requests, self._wrong = {}, {}

    def judge(self, now_s: float) -> Iterator[Alarm | Recovery]:
        """Judge the last seconds, complete or not."""
        if self.alarmed is None:
            if alarm := next(filter(None, (self._judge(now_s, *window) for window in WINDOWS)), None):
                yield alarm
            return
        since = now_s - self._window_s
        if _since(self._requests, since) and not _since(self._wrong, since):
            name, self.alarmed = self.alarmed, None
            yield Recovery(Signal.NONFINITE, None, replica=name)

    def _judge(self, now_s: float, window_s: int, least_share: float) -> Alarm | None:
        wrong = _since(self._wrong, now_s - window_s)
        if wrong.total() < LEAST_REQUESTS:
            return None
        requests = _since(self._requests, now_s - window_s)
        total, served = wrong.total(), requests.total()
        if total < least_share * served:
            return None
        guilty = [instance for instance, count in wrong.items() if count >= least_share * requests[instance]]
        name = guilty[0] if len(guilty) == 1 and len(requests) > 1 else ""
        self.alarmed, self._window_s = name, window_s
        return Alarm(
            Signal.NONFINITE,
            None,
            log_evalue=0.0,
            change_second=min(second for second in self._wrong if second >= now_s - window_s),
            level=0,
            before=np.array([0.0]),
            after=np.array([wrong[name] / max(1, requests[name]) if name else total / max(1, served)]),
            replica=name,
            cause=Cause.REPLICA if name else Cause.VERSION,
        )


def _since(seconds: Mapping[int, Counter[str]], since: float) -> Counter[str]:
    """The sum of what was seen from a second on, by replica."""
    total = Counter[str]()
    for second, counts in seconds.items():
        if second >= since:
            total.update(counts)
    return total
