"""What detectors find: a figure left its course, or is back."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.monitor.domain.blocks import Exemplar
from services.monitor.domain.evidence import Floats
from services.monitor.domain.phases import Cause, Phase, Severity, Signal


@dataclass(frozen=True, slots=True)
class Alarm:
    """A figure left its course. ``before`` and ``after`` by level; ``level`` shows it most.

    ``interval`` is that of ``after`` at its first level, at 95 %. ``note`` completes the summary of what changed.
    ``log_evalue`` is 0 of what a rule found, which is no matter of chance. ``is_versions``: what watches the
    version as a whole raised it, and ``replica`` is whom it was traced to.
    """

    signal: Signal
    phase: Phase | None
    log_evalue: float
    change_second: int
    level: int
    before: Floats
    after: Floats
    traces: tuple[bytes, ...] = ()
    innocent: tuple[bytes, ...] = ()
    replica: str = ""
    cause: Cause = Cause.VERSION
    severity: Severity = Severity.PAGE
    interval: tuple[float, float] | None = None
    note: str = ""
    has_inputs: bool = False
    """Whether inputs are known, and were looked at."""
    is_versions: bool = False
    arm: str = field(default="stable", compare=False)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A figure is back, or can't be compared any more."""

    signal: Signal
    phase: Phase | None
    is_lost: bool = False
    replica: str = ""


Finding = Alarm | Recovery


def ids_of(exemplars: list[Exemplar], *, most: int = 20) -> tuple[bytes, ...]:
    """Trace ids, a batch's before that of its request, each once."""
    found = dict.fromkeys(
        trace for one in exemplars for trace in (one.trace_id, one.request_id) if trace and any(trace)
    )
    return tuple(found)[:most]
