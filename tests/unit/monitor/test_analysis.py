"""What replicas say of themselves, whatever their clocks show."""

from __future__ import annotations

import pytest

from services.monitor.analysis import Analysis
from services.monitor.domain.blocks import NS, Batch, Pulse
from services.monitor.domain.evidence import Budget
from services.monitor.domain.figures import Figures
from services.monitor.domain.incidents import Incident, Incidents
from services.monitor.domain.phases import Signal
from services.monitor.domain.ring import KeptSpan, TraceRing
from services.monitor.otlp import Reading
from tests.support.traffic import START_S, batch


class Stage:
    """An analysis whose clock the test sets."""

    def __init__(self) -> None:
        self.now_s = START_S
        budget = Budget(1.0, 200)
        self.analysis = Analysis(
            figures=Figures(max_series=10),
            ring=TraceRing(max_spans=1_000, max_bytes=1 << 24),
            incidents=Incidents(budget),
            budget=budget,
            clock=lambda: self.now_s * NS,
        )
        self._number = 0

    def hear(self, observation: Batch | Pulse) -> list[Incident]:
        self._number += 1
        span_id = self._number.to_bytes(8, "big")
        span = KeptSpan(bytes(8) + span_id, span_id, "digits", "1", "penstock-inference", 0, 1, False, b"")
        self.analysis.take([Reading(span, True, observation)])
        return [incident for changed in self.analysis.judge() for incident in changed]


@pytest.mark.parametrize("off_s", [0, -15, -7_200, 3_600])
def test_a_stuck_replica_is_told_of_whatever_its_clock_shows(off_s: int) -> None:
    stage = Stage()
    assert stage.hear(batch(end_ns=(START_S + off_s) * NS)) == []
    stage.now_s += 90

    end_ns = (stage.now_s + off_s) * NS
    (stuck,) = stage.hear(Pulse("digits", "1", "worker-1", b"p" * 16, end_ns, False, 80 * NS, 1))

    assert (stuck.signal, stuck.replica) == (Signal.STUCK, "worker-1")
    assert stuck.change_ns == (stage.now_s - 80) * NS


def test_what_was_learnt_is_given_one_version_at_a_time_and_of_some_if_asked() -> None:
    stage = Stage()
    for version in "123":
        stage.hear(batch(version=version))

    assert [version for version, _ in stage.analysis.learnt()] == [("digits", version) for version in "123"]
    assert [version for version, _ in stage.analysis.learnt({("digits", "2"), ("other", "1")})] == [("digits", "2")]
