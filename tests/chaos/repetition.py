"""What came of one repetition of a fault."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tests.chaos.calls import Call, Verdict
from tests.chaos.fault import Fault
from tests.chaos.recovery import counts, rate, time_to_recover

BIN_S = 0.1
BEFORE_S, AFTER_S = 0.7, 9.0
"""What of a repetition the timeline shows, from the fault on."""
_NUMBER = re.compile(r"\d{2,}")
_SLACK_S = 0.3
"""A request sent so shortly after the fault may have met a connection whose end wasn't known yet."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Seconds of the load's clock."""

    began: float
    struck: float
    ended: float


@dataclass(frozen=True, slots=True)
class Repetition:
    """Figures of one repetition. ``recovery_s`` is None where none was expected, or where it was not tried at all."""

    fault: str
    number: int
    at: str
    """When, ISO 8601 in UTC."""
    version: str
    skipped: str = ""
    failure: str = ""
    """Why it could not be carried to its end; the figures are then those until there."""
    sent: int = 0
    right: int = 0
    wrong: int = 0
    duplicates: int = 0
    lost: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    unexpected: Mapping[str, int] = field(default_factory=dict)
    """Those of ``errors`` that this fault doesn't excuse, with what was said."""
    recovery_s: float | None = None
    healed_s: float = 0.0
    """From the fault until everything was as before."""
    usual_rate: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    timeline: Sequence[int] = ()
    """Right answers in each BIN_S from BEFORE_S before the fault on."""

    @property
    def is_bad(self) -> bool:
        """Whether anything was lost, falsified, doubled, or refused without need."""
        return bool(self.failure or self.wrong or self.duplicates or self.lost or self.unexpected)

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in ("", None, {}, ())}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(**{**content, "timeline": tuple(content.get("timeline", ()))})


def figures(calls: Sequence[Call], fault: type[Fault], moments: Moments) -> dict[str, Any]:
    """The figures of one repetition from its calls, all of which are settled."""
    verdicts = Counter(call.verdict for call in calls)
    answered = sorted(call.ended for call in calls if call.verdict is Verdict.RIGHT and call.ended is not None)
    usual = rate(answered, moments.began, moments.struck)
    latencies = sorted(call.seconds for call in calls if call.sent + call.seconds >= moments.struck)
    refused = [call for call in calls if call.verdict is Verdict.REFUSED]
    shown_s = min(AFTER_S, moments.ended - moments.struck)
    unexpected = [call for call in refused if not is_excused(call, fault, moments)]
    return {
        "sent": len(calls),
        "right": verdicts[Verdict.RIGHT],
        "wrong": verdicts[Verdict.WRONG],
        "duplicates": verdicts[Verdict.DUPLICATE],
        "lost": verdicts[Verdict.LOST] + verdicts[Verdict.OPEN],
        "errors": dict(Counter(call.status for call in refused)),
        "unexpected": dict(Counter(map(_told, unexpected))),
        "recovery_s": round(
            time_to_recover(answered, struck=moments.struck, until=moments.ended, usual=usual), 3
        ) if fault.comes_back else None,
        "healed_s": round(moments.ended - moments.struck, 3),
        "usual_rate": round(usual, 1),
        "p99_ms": round(percentile(latencies, 0.99) * 1e3, 1),
        "max_ms": round(percentile(latencies, 1.0) * 1e3, 1),
        "timeline": counts(answered, struck=moments.struck, start_s=-BEFORE_S, end_s=shown_s, bin_s=BIN_S),
    }  # fmt: skip


def is_excused(call: Call, fault: type[Fault], moments: Moments) -> bool:
    """Whether a refusal is one that the fault's promise allows."""
    was_open = call.sent <= moments.struck + _SLACK_S and call.sent + call.seconds >= moments.struck
    if was_open and call.status in fault.open_calls_may:
        return True
    return call.sent >= moments.struck - _SLACK_S and call.status in fault.calls_may


def _told(call: Call) -> str:
    """An error in words; those that differ by a number only count as one."""
    return f"{call.front} {call.status}: {_NUMBER.sub('…', call.detail[:160])}"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of all are; 0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
