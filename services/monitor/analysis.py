"""What happens to spans: they are kept, counted and judged, and what is found becomes incidents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from services.monitor.domain.blocks import NS, Batch, Rejection, gather
from services.monitor.domain.detectors import Alarm, Recovery, StreamKey, VersionDetectors
from services.monitor.domain.figures import OVERFLOW, PANE_S, PANES, Figures
from services.monitor.domain.incidents import Incident, Incidents
from services.monitor.domain.phases import Signal
from services.monitor.domain.reference import Reference
from services.monitor.domain.ring import TraceRing
from services.monitor.otlp import Reading

Version = tuple[str, str]
"""Model and version."""


class Analysis:
    """Figures, ring, detectors and incidents, kept in step. Single-threaded; ``clock`` gives Unix nanoseconds."""

    def __init__(
        self,
        *,
        figures: Figures,
        ring: TraceRing,
        incidents: Incidents,
        average_run_length: float,
        clock: Callable[[], int],
    ) -> None:
        self.figures = figures
        self.ring = ring
        self.incidents = incidents
        self._threshold = math.log(average_run_length)
        self._clock = clock
        self._detectors: dict[Version, VersionDetectors] = {}
        self._references: dict[Version, Reference] = {}
        """What was learnt before a restart, of versions that had no traffic since."""
        self._adopted_ns = 0

    def adopt(
        self, *, open_incidents: Sequence[Incident], references: Mapping[Version, Mapping[str, Any]]
    ) -> list[Incident]:
        """Go on where the monitor stopped; return the incidents that had to be closed.

        A latency incident without a reference can't be seen to end, so it ends here.
        """
        now_ns = self._adopted_ns = self._clock()
        self._references = {version: Reference.load(data) for version, data in references.items()}
        closed = []
        for incident in open_incidents:
            self.incidents.adopt(incident, now_ns=now_ns)
            if incident.signal is Signal.LATENCY and (incident.model, incident.version) not in self._references:
                key = (incident.model, incident.version, incident.signal)
                closed.append(self.incidents.close(key, how="lost sight of in a restart", now_ns=now_ns))
        return closed

    def take(self, readings: Sequence[Reading]) -> None:
        """Take spans in: each is kept in the ring, and counted unless it came before."""
        new = [reading.observation for reading in readings if self.ring.add(reading.span)]
        now_ns = self._clock()
        batches = (observation for observation in new if isinstance(observation, Batch))
        rejections = (observation for observation in new if isinstance(observation, Rejection))
        for block in gather(batches, rejections, now_ns=now_ns):
            series = self.figures.add(block)
            version = (series.model, series.version)
            if version != OVERFLOW:
                self.incidents.saw_traffic(*version, now_ns=now_ns)
                self._watched(version).add(block)

    def _watched(self, version: Version) -> VersionDetectors:
        detectors = self._detectors.get(version)
        if detectors is None:
            reference = self._references.pop(version, None) or Reference()
            detectors = self._detectors[version] = VersionDetectors(self._threshold, reference)
            for incident in self.incidents.open:
                if (incident.model, incident.version) == version:
                    detectors.streams[incident.signal, incident.phase].adopt_alarm()
        return detectors

    def judge(self) -> Iterator[list[Incident]]:
        """Judge the seconds that are over, one version at a time; each step's list holds the incidents it changed."""
        yield self.incidents.close_idle(now_ns=self._clock())
        for version, detectors in list(self._detectors.items()):
            yield [
                incident
                for finding in detectors.judge(self._clock() / NS)
                for incident in self._found(version, finding)
            ]

    def _found(self, version: Version, finding: Alarm | Recovery) -> list[Incident]:
        shown = finding.traces if isinstance(finding, Alarm) else ()
        changed = self.incidents.take(
            *version, finding, traces=[trace.hex() for trace in shown if self.ring.get(trace)], now_ns=self._clock()
        )
        for incident in changed:
            for trace in incident.traces:
                self.ring.pin(bytes.fromhex(trace))
        return changed

    def expire(self) -> None:
        """Forget versions that have been idle for long; one that comes back is learnt afresh."""
        self.figures.expire(self._clock() // NS)
        live = {(series.model, series.version) for series in self.figures}
        for version in self._detectors.keys() - live:
            del self._detectors[version]
        if self._clock() - self._adopted_ns > PANES * PANE_S * NS:
            self._references.clear()

    def references(self) -> dict[Version, dict[str, Any]]:
        """What has been learnt, to be stored: of versions that had no traffic since a restart too."""
        learnt = {version: detectors.reference for version, detectors in self._detectors.items()}
        return {version: reference.dump() for version, reference in (self._references | learnt).items()}

    def evidence(self) -> Iterator[tuple[Version, StreamKey, float]]:
        """Every stream's logarithm of the e-value; safe to use from another thread."""
        for version, detectors in list(self._detectors.items()):
            for key, stream in detectors.streams.items():
                yield version, key, stream.log_evalue
