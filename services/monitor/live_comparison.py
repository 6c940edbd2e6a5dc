"""A comparison under way, as it is told and as it is stored."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from penstock.monitor.v1 import verdict_service_pb2 as pb
from services.monitor import verdict_messages
from services.monitor.adapters.comparison_store import Record
from services.monitor.domain.verdict.comparison import Comparison
from services.monitor.domain.verdict.question import Question


@dataclass(eq=False, slots=True)
class LiveComparison:
    """A comparison under way, and what of it is stored. Times in Unix ns."""

    comparison: Comparison
    fingerprint: str
    begin_ns: int
    serial: int = 1
    """Rises with every change."""
    saved_serial: int = 0
    saved_ns: int = 0
    """When it was last tried to store it."""
    has_news: bool = False
    """Labels came since the last change."""
    report: pb.Comparison | None = None
    """As of now; None after a change."""

    @property
    def is_saved(self) -> bool:
        return self.saved_serial == self.serial

    @classmethod
    def load(cls, record: Record, *, now_s: float) -> LiveComparison:
        """The reverse of :meth:`record`; ``now_s`` in Unix seconds.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it was stored by another release.
        """
        question = Question.load(json.loads(record.question))
        comparison = Comparison.load(question, json.loads(record.state), now_s=now_s)
        return cls(comparison, record.fingerprint, record.begin_ns)

    def message(self) -> pb.Comparison:
        if self.report is None:
            self.report = verdict_messages.comparison(self.comparison)
        return self.report

    def record(self) -> Record:
        question, is_final = self.comparison.question, self.comparison.is_over
        return Record(
            comparison_id=question.comparison_id,
            model=question.model,
            begin_ns=self.begin_ns,
            is_final=is_final,
            fingerprint=self.fingerprint,
            question=json.dumps(question.dump()),
            state="" if is_final else json.dumps(self.comparison.dump()),
            report=self.message().SerializeToString(),
        )


def given_up(record: Record) -> Record:
    """A comparison that can't be gone on with, as one that is held."""
    report = pb.Comparison.FromString(record.report)
    report.decision, report.is_final = pb.DECISION_HOLD, True
    report.reason = "the monitor was changed, and can't go on with what it knew; compare anew"
    return replace(record, is_final=True, state="", report=report.SerializeToString())
