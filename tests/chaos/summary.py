"""All repetitions of a fault as one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.chaos.fault import Fault
from tests.chaos.repetition import Repetition, percentile


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures over all repetitions; ``recovery`` holds their seconds in order."""

    fault: type[Fault]
    repetitions: Sequence[Repetition]
    skipped: str

    def _sum(self, figure: str) -> int:
        return sum(getattr(one, figure) for one in self.repetitions)

    @property
    def sent(self) -> int:
        return self._sum("sent")

    @property
    def right(self) -> int:
        return self._sum("right")

    @property
    def wrong(self) -> int:
        return self._sum("wrong")

    @property
    def duplicates(self) -> int:
        return self._sum("duplicates")

    @property
    def lost(self) -> int:
        return self._sum("lost")

    @property
    def errors(self) -> Counter[str]:
        return sum((Counter(one.errors) for one in self.repetitions), Counter[str]())

    @property
    def unexpected(self) -> Counter[str]:
        return sum((Counter(one.unexpected) for one in self.repetitions), Counter[str]())

    @property
    def failures(self) -> Sequence[str]:
        return [one.failure for one in self.repetitions if one.failure]

    @property
    def is_bad(self) -> bool:
        return any(one.is_bad for one in self.repetitions)

    @property
    def is_late(self) -> bool:
        """Whether the 95th percentile of the recovery misses its target."""
        target, p95 = self.fault.recovers_within_s, self.recovery(0.95)
        return target is not None and p95 is not None and p95 > target

    def as_json(self) -> dict[str, Any]:
        """All figures, those of each repetition too."""
        return {
            "fault": self.fault.name,
            "breaks": self.fault.breaks,
            "promise": self.fault.promise,
            "skipped": self.skipped,
            "sent": self.sent,
            "right": self.right,
            "wrong": self.wrong,
            "lost": self.lost,
            "duplicates": self.duplicates,
            "errors": self.errors,
            "unexpected": self.unexpected,
            "recovery_p50_s": self.recovery(0.5),
            "recovery_p95_s": self.recovery(0.95),
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
            "repetitions": [one.as_json() for one in self.repetitions],
        }

    def recovery(self, share: float) -> float | None:
        """That percentile of the seconds to recover; None where there is none."""
        seconds = sorted(one.recovery_s for one in self.repetitions if one.recovery_s is not None)
        return percentile(seconds, share) if seconds else None

    @property
    def p99_ms(self) -> float:
        return median([one.p99_ms for one in self.repetitions] or [0.0])

    @property
    def max_ms(self) -> float:
        return max((one.max_ms for one in self.repetitions), default=0.0)
