"""Answers that are no numbers, which is no matter of chance: told by a rule, as soon as they come."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from services.monitor.domain.blocks import Block
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Cause, Signal

LEAST_REQUESTS = 3
WINDOWS = ((13, 0.003), (120, 0.0005))
"""Seconds, and the share of their requests that is an alarm: many, or few again and again."""


@dataclass(slots=True)
class NumberDetector:
    """Watches one version and its replicas. ``alarmed`` is the replica at fault, "" for all; None while none is."""

    alarmed: str | None = None
    _window_s: int = WINDOWS[0][0]
    """Of the alarm: so long there must be none until it is over."""
    _blocks: deque[tuple[int, str, int, int]] = field(default_factory=lambda: deque(maxlen=1_024))
    """Second, replica, requests and those of them whose answers are no numbers, of the last blocks."""

    def add(self, block: Block) -> None:
        if block.executions:
            self._blocks.append((block.second, block.instance, block.requests, block.answers.nonfinite))

    def judge(self, now_s: float) -> Iterator[Alarm | Recovery]:
        """Judge the last seconds, complete or not."""
        if self.alarmed is None:
            if alarm := next(filter(None, (self._judge(now_s, *window) for window in WINDOWS)), None):
                yield alarm
            return
        recent = self._since(now_s - self._window_s)
        if recent and not any(nonfinite for *_, nonfinite in recent):
            name, self.alarmed = self.alarmed, None
            yield Recovery(Signal.NONFINITE, None, replica=name)

    def _judge(self, now_s: float, window_s: int, least_share: float) -> Alarm | None:
        recent = self._since(now_s - window_s)
        requests, wrong = Counter[str](), Counter[str]()
        for _, instance, count, nonfinite in recent:
            requests[instance] += count
            wrong[instance] += nonfinite
        total, served = wrong.total(), max(1, requests.total())
        if total < LEAST_REQUESTS or total < least_share * served:
            return None
        guilty = [instance for instance, count in wrong.items() if count >= least_share * requests[instance]]
        name = guilty[0] if len(guilty) == 1 and len(requests) > 1 else ""
        self.alarmed, self._window_s = name, window_s
        return Alarm(
            Signal.NONFINITE,
            None,
            log_evalue=0.0,
            change_second=min(second for second, _, _, nonfinite in recent if nonfinite),
            level=0,
            before=np.array([0.0]),
            after=np.array([wrong[name] / max(1, requests[name]) if name else total / served]),
            replica=name,
            cause=Cause.REPLICA if name else Cause.VERSION,
        )

    def _since(self, second: float) -> list[tuple[int, str, int, int]]:
        return [one for one in self._blocks if one[0] >= second]
