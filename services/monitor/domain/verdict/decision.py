"""What follows from the evidence: promote, continue, hold and ask, or roll back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from services.monitor.domain.blocks import NS
from services.monitor.domain.verdict.guardrails import Standing
from services.monitor.domain.verdict.question import Question
from services.monitor.domain.verdict.split import Split

SILENCE_S = 30
"""From so many seconds without traffic on a version counts as silent."""


class Decision(StrEnum):
    PROMOTE = "promote"
    CONTINUE = "continue"
    HOLD = "hold"
    """A person must look: it can't be decided, or not by these figures."""
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision and why. ``is_final``: nothing that comes later changes it."""

    decision: Decision
    reason: str
    is_final: bool = False

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Ruling:
        return cls(Decision(data["decision"]), data["reason"], data["is_final"])


@dataclass(slots=True)
class Traffic:
    """What came of a version since the comparison began."""

    requests: int = 0
    last_second: int = 0


@dataclass(slots=True)
class Progress:
    """How much was seen, and what was not."""

    candidate: Traffic = field(default_factory=Traffic)
    baseline: Traffic = field(default_factory=Traffic)
    seconds: int = 0
    """Seconds with traffic, once both versions had had some."""
    observations: int = 0
    """Seconds, or runs of them, that were compared."""
    lonely_seconds: int = 0
    """Seconds that only one version had traffic in, for so long that they were not compared."""
    late_samples: int = 0
    """Parts of seconds that came too late."""
    restarts: int = 0
    unseen_seconds: int = 0
    """Seconds that passed while the monitor was away."""

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Progress:
        arms = {arm: Traffic(**data[arm]) for arm in ("candidate", "baseline")}
        return cls(**{**data, **arms})


def decide(
    question: Question,
    progress: Progress,
    split: Split,
    standings: Sequence[Standing],
    before: Ruling,
    *,
    now_s: float,
    summary: Callable[[int], str],
) -> Ruling:
    """The ruling now. A broken split and harm end a comparison; a promotion stands unless harm is found later.

    ``summary`` says in words how a guardrail stands, by its index.
    """
    is_late = now_s >= question.deadline_ns / NS
    if split.is_broken:
        return Ruling(Decision.HOLD, _broken(question, split), is_final=True)
    harmed = {index: one.harm_log_evalue - one.harm_needed for index, one in enumerate(standings) if one.is_harmed}
    if harmed:
        worst = summary(max(harmed, key=harmed.__getitem__))
        return Ruling(Decision.ROLL_BACK, f"version {question.candidate} is worse: {worst}", is_final=True)
    if before.decision is Decision.PROMOTE:
        return Ruling(Decision.PROMOTE, before.reason, is_final=is_late)
    missing = _missing(question, progress, standings, now_s=now_s, summary=summary)
    if not missing:
        reason = (
            f"version {question.candidate} is not worse than {question.baseline} by more than is allowed, in "
            f"{progress.candidate.requests} requests"
        )
        return Ruling(Decision.PROMOTE, reason, is_final=is_late)
    if is_late:
        return Ruling(Decision.HOLD, f"the time is up and it is not proven: {missing}", is_final=True)
    return Ruling(Decision.CONTINUE, missing)


def _broken(question: Question, split: Split) -> str:
    expected = question.share or 0.0
    return (
        f"the split is broken, so nothing here can be trusted: version {question.candidate} got {split.seen:.1%} of "
        f"{split.total} requests, expected {expected:.1%}; find out why, then compare anew"
    )


def _missing(
    question: Question,
    progress: Progress,
    standings: Sequence[Standing],
    *,
    now_s: float,
    summary: Callable[[int], str],
) -> str:
    """What a promotion still needs, in words; empty if nothing."""
    arms = ((question.candidate, progress.candidate), (question.baseline, progress.baseline))
    for version, arm in arms:
        if not arm.requests:
            return f"no requests of version {version} yet{_unseen(progress)}"
    for version, arm in arms:
        silent_s = int(now_s) - arm.last_second
        if silent_s >= SILENCE_S:
            return f"no requests of version {version} for {silent_s} s{_unseen(progress)}"
    blocking = {index: (one.has_data, one.safety_log_evalue) for index, one in enumerate(standings) if one.blocks}
    if blocking:
        more = f", and {len(blocking) - 1} more" if len(blocking) > 1 else ""
        return f"not proven yet: {summary(min(blocking, key=blocking.__getitem__))}{more}{_unseen(progress)}"
    if progress.candidate.requests < question.min_requests:
        return f"{progress.candidate.requests} of {question.min_requests} requests"
    if progress.seconds < question.min_seconds:
        return f"{progress.seconds} of {question.min_seconds} seconds with traffic"
    return ""


def _unseen(progress: Progress) -> str:
    if not progress.restarts:
        return ""
    return f"; the monitor was restarted, and {progress.unseen_seconds} s were not seen"
