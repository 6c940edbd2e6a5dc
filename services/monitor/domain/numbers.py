"""Answers that are no numbers, which is no matter of chance: told by a rule, as soon as they come."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from services.monitor.domain.blocks import Block
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Cause, Signal

LEAST_REQUESTS, LEAST_SHARE, WINDOW_S = 3, 0.003, 13
"""So many requests, and such a share of those of the last seconds, are an alarm."""


@dataclass(slots=True)
class NumberDetector:
    """Watches one version and its replicas. ``alarmed`` is the replica at fault, "" for all; None while none is."""

    alarmed: str | None = None
    _blocks: deque[tuple[int, str, int, int]] = field(default_factory=lambda: deque(maxlen=1_024))
    """Second, replica, requests and those of them whose answers are no numbers, of the last blocks."""

    def add(self, block: Block) -> None:
        if block.executions:
            self._blocks.append((block.second, block.instance, block.requests, block.answers.nonfinite))

    def judge(self, now_s: float) -> Iterator[Alarm | Recovery]:
        """Judge the last seconds, complete or not."""
        recent = [one for one in self._blocks if one[0] >= now_s - WINDOW_S]
        requests, wrong = Counter[str](), Counter[str]()
        for _, instance, count, nonfinite in recent:
            requests[instance] += count
            wrong[instance] += nonfinite
        total, served = wrong.total(), max(1, requests.total())
        if self.alarmed is None:
            if total < LEAST_REQUESTS or total < LEAST_SHARE * served:
                return
            guilty = [instance for instance, count in wrong.items() if count >= LEAST_SHARE * requests[instance]]
            name = guilty[0] if len(guilty) == 1 and len(requests) > 1 else ""
            self.alarmed = name
            yield Alarm(
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
        elif not total and requests.total():
            name, self.alarmed = self.alarmed, None
            yield Recovery(Signal.NONFINITE, None, replica=name)
