"""Runs the monitor's analysis on simulated spans, on a clock that the stream sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.monitor.analysis import Analysis
from services.monitor.domain.blocks import NS, Batch
from services.monitor.domain.evidence import Budget
from services.monitor.domain.figures import Figures
from services.monitor.domain.incidents import Incident, Incidents
from services.monitor.domain.ring import KeptSpan, TraceRing
from services.monitor.evaluation.stream import START_S, Observation
from services.monitor.otlp import Reading


@dataclass(frozen=True, slots=True)
class Change:
    """An incident as it was at a second since the start of the traffic."""

    at_s: int
    incident: Incident


class Replay:
    """A monitor without a network. ``take`` may be called with the spans of several streams in turn."""

    def __init__(self, *, budget: Budget | None = None) -> None:
        self.now_ns = START_S * NS
        self.budget = budget or Budget(false_alarms_per_week=1.0, series=200)
        self.analysis = self._made()

    def _made(self) -> Analysis:
        return Analysis(
            figures=Figures(max_series=200),
            ring=TraceRing(max_spans=50_000, max_bytes=128 << 20),
            incidents=Incidents(self.budget),
            budget=self.budget,
            clock=lambda: self.now_ns,
        )

    def run(self, seconds: Iterable[tuple[int, list[Observation]]]) -> list[Change]:
        """All changes of incidents, in order."""
        return [change for now_ns, observations in seconds for change in self.take(now_ns, observations)]

    def take(self, now_ns: int, observations: Iterable[Observation]) -> Iterator[Change]:
        """Take in what comes at an instant, and judge."""
        self.now_ns = now_ns
        self.analysis.take([reading(one) for one in observations])
        for changed in self.analysis.judge():
            for incident in changed:
                yield Change(now_ns // NS - START_S, incident)

    def restart(self) -> None:
        """Stop the monitor and start another, which has nothing but what was stored."""
        learnt, left_open = self.analysis.references(), self.analysis.incidents.open
        stored = {version: json.loads(json.dumps(data)) for version, data in learnt.items()}
        self.analysis = self._made()
        self.analysis.adopt(open_incidents=left_open, references=stored)


def reading(observation: Observation) -> Reading:
    """As intake would have read it from a span."""
    start_ns = observation.start_ns if isinstance(observation, Batch) else observation.end_ns
    span = KeptSpan(
        observation.trace_id,
        observation.trace_id[:8],
        observation.model,
        observation.version,
        "penstock-inference",
        start_ns,
        observation.end_ns,
        False,
        b"",
    )
    return Reading(span, True, observation)
