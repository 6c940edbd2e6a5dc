"""What becomes of incidents of services of other makes, and of the traces that show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.monitor.analysis import Analysis
from services.monitor.arrivals import Arrivals
from services.monitor.domain.blocks import NS
from services.monitor.domain.evidence import Budget
from services.monitor.domain.figures import Figures
from services.monitor.domain.foreign import IDLE_S, Call, ForeignServices, SeriesKey
from services.monitor.domain.foreign_incidents import ForeignIncidents
from services.monitor.domain.incidents import Incident, Incidents
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.ring import KeptSpan, TraceRing
from services.monitor.domain.tail import Tail
from services.monitor.otlp import Reading
from tests.unit.monitor.test_alerts import INCIDENT

START_S = 1_700_000_000


class Stage:
    """Arrivals on a clock of their own, which send on to a list."""

    def __init__(self) -> None:
        self.now_ns = START_S * NS
        self.sent: list[KeptSpan] = []
        budget, ring = Budget(1.0, 200), TraceRing(max_spans=10_000, max_bytes=1 << 24)
        incidents = ForeignIncidents(average_run_length=budget.run_length)
        self.arrivals = Arrivals(
            Analysis(
                figures=Figures(max_series=10), ring=ring, incidents=Incidents(budget), budget=budget, clock=self.clock
            ),
            ring=ring,
            services=ForeignServices(
                max_series=100, threshold=math.log(budget.run_length), is_alarmed=incidents.goes_on
            ),
            incidents=incidents,
            tail=Tail(delay_ns=0, traces_per_second=10, contrasts_per_minute=0),
            onward=self,
            forwards_foreign=True,
            clock=self.clock,
        )
        self._number = 0

    def clock(self) -> int:
        return self.now_ns

    def offer(self, spans: Sequence[KeptSpan]) -> None:
        self.sent += spans

    def second(self, **failing: bool) -> list[Incident]:
        """Twenty calls to each replica in a second; what changed by them."""
        self.now_ns += NS
        self.arrivals.take([self._reading(replica, bad) for replica, bad in failing.items() for _ in range(20)])
        return self.arrivals.judge()

    def _reading(self, replica: str, is_failed: bool) -> Reading:
        self._number += 1
        trace_id, span_id = self._number.to_bytes(16, "big"), self._number.to_bytes(8, "big")
        span = KeptSpan(trace_id, span_id, "", "", "shop", self.now_ns - 9, self.now_ns, is_failed, b"", is_ours=False)
        outcome = Outcome.SERVER_ERROR if is_failed else Outcome.OK
        key = SeriesKey("shop", "GET /cart", replica)
        return Reading(span, False, Call(key, trace_id, self.now_ns, 20_000_000, outcome))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_replica_that_is_replaced_while_it_fails_leaves_no_incident_behind(stage: Stage) -> None:
    for _ in range(40):
        assert stage.second(a=False, b=False) == []
    (opened,) = [incident for _ in range(30) for incident in stage.second(a=True, b=False)]
    assert opened.replica == "a"

    changed = [incident for _ in range(IDLE_S + 10) for incident in stage.second(b=False, d=False)]
    assert [(one.incident_id, one.is_open) for one in changed] == [(opened.incident_id, False)]

    (next_one,) = [incident for _ in range(30) for incident in stage.second(b=False, d=True)]
    assert (next_one.replica, next_one.is_open) == ("d", True)


def test_traces_of_incidents_that_end_are_not_sent_on_again(stage: Stage) -> None:
    stage.second(a=False)
    trace = (1).to_bytes(16, "big").hex()

    stage.arrivals.show([replace(INCIDENT, traces=(trace,), close_ns=stage.now_ns)])
    assert stage.sent == []
    stage.arrivals.show([replace(INCIDENT, traces=(trace,))])
    assert [span.trace_id.hex() for span in stage.sent] == [trace]
    assert (stage.arrivals.tail.results["incident"], stage.arrivals.tail.results["lost"]) == (1, 0)
