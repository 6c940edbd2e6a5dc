"""What every span goes through beside the analysis of models: it is checked for its time, counted for its service if
that is of another make, and sent on with its trace if that is worth it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from services.monitor.analysis import Analysis, Version
from services.monitor.domain.blocks import NS, Batch, Rejection
from services.monitor.domain.foreign import Call, ForeignServices, SeriesKey
from services.monitor.domain.foreign_incidents import PREFIX, ForeignIncidents
from services.monitor.domain.incidents import Incident
from services.monitor.domain.punctuality import Punctuality
from services.monitor.domain.ring import KeptSpan, TraceRing
from services.monitor.domain.slowness import UNKNOWN, Limits
from services.monitor.domain.tail import Decision, Reason, Tail
from services.monitor.otlp import Reading

_log = logging.getLogger(__name__)

_LIMITS_AGE_NS = 10 * NS
_MAX_LIMITS = 10_000
_FORGET_REFERENCES_NS = 600 * NS


class Onward(Protocol):
    """Where spans of traces that are worth it go."""

    def offer(self, spans: Sequence[KeptSpan]) -> None: ...


class Arrivals:
    """Between intake and analysis. Single-threaded; ``clock`` gives Unix nanoseconds."""

    def __init__(
        self,
        analysis: Analysis,
        *,
        ring: TraceRing,
        services: ForeignServices,
        incidents: ForeignIncidents,
        tail: Tail,
        onward: Onward | None,
        forwards_foreign: bool,
        clock: Callable[[], int],
    ) -> None:
        """``onward``: None where nothing is sent on."""
        self.punctuality = Punctuality()
        self.services = services
        self.incidents = incidents
        self.tail = tail
        self._analysis = analysis
        self._ring = ring
        self._onward = onward
        self._forwards_foreign = forwards_foreign
        self._clock = clock
        self._limits: dict[Version, tuple[Limits, int]] = {}
        self._adopted_ns = 0

    def take(self, readings: Sequence[Reading]) -> None:
        """Take spans in, in the order in which they came."""
        now_ns = self._clock()
        self.punctuality.begin(now_ns)
        new = self._without_duplicates(readings)
        for reading in new:
            self.punctuality.see(reading.span, now_ns=now_ns)
        self._analysis.take(new)
        for reading in new:
            span = reading.span
            if span.awaits_parent and not self._ring.has(span.trace_id, span.parent_id):
                self.punctuality.await_parent(span, now_ns=now_ns)
        calls = [reading.observation for reading in new if isinstance(reading.observation, Call)]
        if calls:
            self.services.add(calls, now_ns=now_ns)
            self.incidents.saw_calls({call.key.service for call in calls}, now_ns=now_ns)
        if self._onward is not None:
            self._follow(new, now_ns)

    def _without_duplicates(self, readings: Sequence[Reading]) -> list[Reading]:
        new: dict[tuple[bytes, bytes], Reading] = {}
        for reading in readings:
            key = reading.span.trace_id, reading.span.span_id
            if key in new or self._ring.has(*key):
                self.punctuality.irregular["duplicate"] += 1
            else:
                new[key] = reading
        return list(new.values())

    def _follow(self, readings: Iterable[Reading], now_ns: int) -> None:
        """Note what spans say of their traces; send on those whose traces went before."""
        late: list[KeptSpan] = []
        for reading in readings:
            span = reading.span
            if not (span.is_ours or self._forwards_foreign):
                continue
            if self.tail.see(span, self._reason(reading, now_ns), subject=_subject(reading), now_ns=now_ns):
                late += [span, *self._linked([span])]
        self._send(late)

    def _reason(self, reading: Reading, now_ns: int) -> Reason:
        span, observation = reading.span, reading.observation
        if span.is_probe:
            return Reason.PROBE
        if span.has_error:
            return Reason.ERROR
        if isinstance(observation, Batch):
            if span.is_canary:
                return Reason.CANARY
            return Reason.SLOW if self._limits_of(observation, now_ns).are_exceeded(observation) else Reason.NONE
        if isinstance(observation, Call):
            series = self.services.get(observation.key)
            limit_ns = None if series is None else series.slow_ns()
            return Reason.SLOW if limit_ns is not None and observation.duration_ns > limit_ns else Reason.NONE
        # A request that did not fail has spans of its own only if it was sampled.
        is_of_request = span.is_ours and (observation is None or isinstance(observation, Rejection))
        return Reason.HEAD if is_of_request else Reason.NONE

    def _limits_of(self, batch: Batch, now_ns: int) -> Limits:
        version = batch.model, batch.version
        limits, since_ns = self._limits.get(version, (UNKNOWN, 0))
        if not 0 <= now_ns - since_ns < _LIMITS_AGE_NS:
            reference = self._analysis.reference(version)
            limits = UNKNOWN if reference is None else Limits.of(reference)
            if len(self._limits) >= _MAX_LIMITS:
                self._limits.clear()
            self._limits[version] = limits, now_ns
        return limits

    def judge(self) -> list[Incident]:
        """Judge the seconds of foreign services that are over; return the incidents that changed."""
        now_ns = self._clock()
        changed = self.incidents.close_idle(now_ns=now_ns)
        for key, finding in self.services.judge(now_ns / NS):
            traces = getattr(finding, "traces", ())
            shown = [trace.hex() for trace in traces if self._ring.get(trace)]
            changed += self.incidents.take(key, finding, traces=shown, now_ns=now_ns)
        for incident in changed:
            for trace in incident.traces:
                self._ring.pin(bytes.fromhex(trace))
        self.punctuality.expire(now_ns=now_ns)
        changed += self.incidents.forget(self.services.expire(now_ns / NS), now_ns=now_ns)
        if now_ns - self._adopted_ns > _FORGET_REFERENCES_NS:
            self.services.forget_references()
        return changed

    def show(self, incidents: Iterable[Incident]) -> None:
        """Send on the traces that show open incidents."""
        if self._onward is not None:
            traces = [bytes.fromhex(trace) for incident in incidents if incident.is_open for trace in incident.traces]
            self._forward(self.tail.keep(traces, Reason.INCIDENT))

    def forward(self, *, at_once: bool = False) -> None:
        """Send on the traces that are due; ``at_once``: all that are worth it, at the end."""
        if self._onward is not None:
            self._forward(self.tail.due(self._clock(), at_once=at_once))

    def _forward(self, decisions: Iterable[Decision]) -> None:
        spans: list[KeptSpan] = []
        for decision in decisions:
            found = self._spans_of(decision.trace_id)
            if not found:
                self.tail.results["lost"] += 1
            spans += found
            spans += self._linked(found)
        self._send(spans)

    def _spans_of(self, trace_id: bytes) -> list[KeptSpan]:
        trace = self._ring.get(trace_id)
        return [] if trace is None else list(trace.spans.values())

    def _linked(self, spans: Iterable[KeptSpan]) -> list[KeptSpan]:
        """Spans of the traces that are linked to: who follows a link is to find something there."""
        traces = dict.fromkeys(linked for span in spans for linked in span.linked)
        return [span for trace_id in self.tail.follow(traces) for span in self._spans_of(trace_id)]

    def _send(self, spans: Iterable[KeptSpan]) -> None:
        chosen = []
        for span in spans:
            if not span.is_forwarded and (span.is_ours or self._forwards_foreign):
                span.is_forwarded = True
                chosen.append(span)
        if chosen and self._onward is not None:
            self._onward.offer(chosen)

    def adopt(self, *, open_incidents: Iterable[Incident], references: Mapping[SeriesKey, Mapping[str, Any]]) -> None:
        """Go on where the monitor stopped."""
        self._adopted_ns = self._clock()
        for key in self.services.adopt(references):
            _log.warning("what was learnt of %s of service %s can't be used", key.operation, key.service)
        for incident in open_incidents:
            self.incidents.adopt(incident, now_ns=self._adopted_ns)

    def references(self) -> Iterator[tuple[Version, Mapping[str, Any]]]:
        """What has been learnt of foreign services, under names beside those of models' versions."""
        for key, data in self.services.references():
            yield (f"{PREFIX}{key.service}", f"{key.operation}\n{key.replica}"), data


def _subject(reading: Reading) -> str:
    """What a span's trace may be an innocent example of; "" where it shows nothing."""
    span = reading.span
    if isinstance(reading.observation, Batch):
        return f"{span.model}/{span.version}"
    return f"{PREFIX}{span.service}" if isinstance(reading.observation, Call) else ""


def series_of(version: Version) -> SeriesKey:
    """The reverse of the names that :meth:`Arrivals.references` gives."""
    operation, _, replica = version[1].partition("\n")
    return SeriesKey(version[0].removeprefix(PREFIX), operation, replica)
