"""What happens to spans: they are kept, counted and judged, and what is found becomes incidents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from services.monitor.domain.blocks import NS, Batch, Block, Pulse, Rejection, plausible_ns
from services.monitor.domain.detectors import DEFAULT_LIMIT_S, StreamKey, VersionDetectors
from services.monitor.domain.evidence import Budget
from services.monitor.domain.figures import OVERFLOW, PANE_S, PANES, Figures
from services.monitor.domain.findings import Alarm, Finding
from services.monitor.domain.gathering import gather, merged
from services.monitor.domain.incidents import Incident, Incidents
from services.monitor.domain.phases import FAMILIES, Signal
from services.monitor.domain.probe_book import ProbeBook, is_probes
from services.monitor.domain.probe_reports import ProbeReport
from services.monitor.domain.quality.book import QualityBook, is_quality
from services.monitor.domain.quality.labels import Judgement, Label
from services.monitor.domain.quality.predictions import Prediction, Predictions
from services.monitor.domain.reference import Reference
from services.monitor.domain.ring import TraceRing
from services.monitor.otlp import Reading

_log = logging.getLogger(__name__)

Version = tuple[str, str]
"""Model and version."""
_APART = (Signal.PROBE, Signal.ACCURACY)
"""Signals that are judged without traffic."""


class Analysis:
    """Figures, ring, detectors and incidents, kept in step. Single-threaded; ``clock`` gives Unix nanoseconds.

    ``limit_s`` says how long requests of a model may wait now; ``on_block`` gets every replica's second, as it comes,
    and ``on_predictions`` what is told for labels that come later.
    """

    def __init__(
        self,
        *,
        figures: Figures,
        ring: TraceRing,
        incidents: Incidents,
        budget: Budget,
        clock: Callable[[], int],
        limit_s: Callable[[str], float] = lambda _: DEFAULT_LIMIT_S,
        on_block: Callable[[Block], None] = lambda _: None,
        on_predictions: Callable[[Predictions], None] = lambda _: None,
    ) -> None:
        self.figures = figures
        self.ring = ring
        self.incidents = incidents
        self._budget = budget
        self._clock = clock
        self._limit_s = limit_s
        self._on_block = on_block
        self._on_predictions = on_predictions
        self.probes = ProbeBook()
        self.quality = QualityBook(budget)
        self._detectors: dict[Version, VersionDetectors] = {}
        self._stored: dict[Version, Mapping[str, Any]] = {}
        """What was learnt before a restart, of versions that had no traffic since."""
        self._adopted_ns = 0

    def adopt(
        self, *, open_incidents: Sequence[Incident], references: Mapping[Version, Mapping[str, Any]]
    ) -> list[Incident]:
        """Go on where the monitor stopped; return the incidents that had to be closed.

        An incident whose figure was not learnt can't be seen to end, so it ends here; errors and probes always can.
        """
        now_ns = self._adopted_ns = self._clock()
        self._stored = {
            version: data
            for version, data in references.items()
            if not (is_probes(version[0]) or is_quality(version[0]))
        }
        try:
            self.quality.load({version: data for version, data in references.items() if is_quality(version[0])})
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            _log.warning("what was stored of labels can't be used: %s", error)
        try:
            self.probes.load({version: data for version, data in references.items() if is_probes(version[0])})
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            _log.warning("what was stored of golden probes can't be used: %s", error)
        closed = []
        for incident in open_incidents:
            self.incidents.adopt(incident, now_ns=now_ns)
            if incident.signal is Signal.PROBE:
                self.probes.adopt_alarm((incident.model, incident.version), incident.replica, now_ns=now_ns)
                continue
            if incident.signal is Signal.ACCURACY and self.quality.knows((incident.model, incident.version)):
                self.quality.adopt_alarm((incident.model, incident.version))
                continue
            is_of_labels = incident.signal is Signal.ACCURACY
            is_unknown = is_of_labels or (incident.model, incident.version) not in self._stored
            if incident.signal is not Signal.ERROR_RATE and is_unknown:
                key = (incident.model, incident.version, FAMILIES[incident.signal])
                closed.append(self.incidents.close(key, how="lost sight of in a restart", now_ns=now_ns))
        return closed

    def take(self, readings: Sequence[Reading]) -> None:
        """Take spans in: each is kept in the ring, and counted unless it came before."""
        new = [reading.observation for reading in readings if self.ring.add(reading.span)]
        now_ns = self._clock()
        batches = [observation for observation in new if isinstance(observation, Batch)]
        rejections = [observation for observation in new if isinstance(observation, Rejection)]
        self._count(gather(batches, rejections, now_ns=now_ns), now_ns=now_ns)
        for observation in new:
            if isinstance(observation, Predictions):
                observation.end_ns = plausible_ns(observation.end_ns, now_ns)
                self.quality.see(observation)
                self._on_predictions(observation)
            if isinstance(observation, ProbeReport | Pulse):
                self._hear(replace(observation, end_ns=plausible_ns(observation.end_ns, now_ns)), now_ns=now_ns)

    def learn_label(self, prediction: Prediction, label: Label, judgement: Judgement) -> None:
        """Take a label in that met its answer."""
        now_ns = self._clock()
        self.quality.add(prediction, label, judgement, now_ns=now_ns)
        self.incidents.saw_label(prediction.model, prediction.version, now_ns=now_ns)

    def _hear(self, told: ProbeReport | Pulse, *, now_ns: int) -> None:
        """Take in what a replica says of itself."""
        version = told.model, told.version
        if isinstance(told, ProbeReport):
            self.probes.take(told)
            self.incidents.saw_probe(*version, now_ns=now_ns)
            return
        if told.is_stopping:
            self.probes.forget(version, told.instance)
        detectors = self._detectors.get(version)
        if detectors is not None:
            detectors.beat(told)

    def _count(self, blocks: Iterable[Block], *, now_ns: int) -> None:
        blocks = list(blocks)
        watched = set()
        for block in merged(blocks):
            series = self.figures.add(block)
            version = (series.model, series.version)
            if version != OVERFLOW:
                self.incidents.saw_traffic(*version, now_ns=now_ns)
                watched.add(version)
        for block in blocks:
            if (block.model, block.version) in watched:
                self._watched((block.model, block.version)).add(block)
                self._on_block(block)

    def _watched(self, version: Version) -> VersionDetectors:
        detectors = self._detectors.get(version)
        if detectors is None:
            detectors = self._detectors[version] = self._restored(version)
            for incident in self.incidents.open:
                if (incident.model, incident.version) == version and incident.signal not in _APART:
                    detectors.adopt_alarm(incident.signal, incident.phase, incident.replica, second=self._clock() // NS)
        return detectors

    def _restored(self, version: Version) -> VersionDetectors:
        """Detectors that go on with what was stored of them; afresh where that is of another make."""
        limit, stored = partial(self._limit_s, version[0]), self._stored.pop(version, None)
        if stored is not None:
            try:
                return VersionDetectors.load(stored, budget=self._budget, limit=limit)
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                _log.warning("what was learnt of %s version %s can't be used: %s", *version, error)
        return VersionDetectors(self._budget, limit=limit)

    def judge(self) -> Iterator[list[Incident]]:
        """Judge the seconds that are over, one version at a time; each step's list holds the incidents it changed."""
        yield self.incidents.close_idle(now_ns=self._clock())
        found = list(self.probes.judge(self._clock()))
        yield [incident for version, finding in found for incident in self._found(version, finding)]
        yield [incident for version, finding in self.quality.judge() for incident in self._found(version, finding)]
        self._budget.live = self.quality.count + sum(detectors.count for detectors in self._detectors.values())
        for version, detectors in list(self._detectors.items()):
            yield [
                incident
                for finding in detectors.judge(self._clock() / NS)
                for incident in self._found(version, finding)
            ]

    def _found(self, version: Version, finding: Finding) -> list[Incident]:
        traces, innocent = (finding.traces, finding.innocent) if isinstance(finding, Alarm) else ((), ())
        changed = self.incidents.take(
            *version, finding, traces=self._kept(traces), innocent=self._kept(innocent), now_ns=self._clock()
        )
        for incident in changed:
            for trace in (*incident.traces, *incident.innocent_traces):
                self.ring.pin(bytes.fromhex(trace))
        return changed

    def _kept(self, traces: Iterable[bytes]) -> list[str]:
        """Those that can be shown."""
        return [trace.hex() for trace in traces if self.ring.get(trace)]

    def expire(self) -> None:
        """Forget versions that have been idle for long; one that comes back is learnt afresh."""
        self.figures.expire(self._clock() // NS)
        live = {(series.model, series.version) for series in self.figures}
        for version in self._detectors.keys() - live:
            del self._detectors[version]
        if self._clock() - self._adopted_ns > PANES * PANE_S * NS:
            self._stored.clear()

    @property
    def detectors(self) -> dict[Version, VersionDetectors]:
        """Of versions that had traffic lately, as they are now."""
        return dict(self._detectors)

    def reference(self, version: Version) -> Reference | None:
        """What is normal for a version; None for one that nobody called lately."""
        detectors = self._detectors.get(version)
        return None if detectors is None else detectors.reference

    def references(self) -> dict[Version, Mapping[str, Any]]:
        """What has been learnt, to be stored: of versions that had no traffic since a restart too."""
        return dict(self.learnt())

    def learnt(self, only: Container[Version] | None = None) -> Iterator[tuple[Version, Mapping[str, Any]]]:
        """The same, one version at a time, as each takes a while; or of those in ``only`` that have traffic."""
        if only is None:
            yield from list(self._stored.items())
            yield from self.probes.dump().items()
            yield from self.quality.dump().items()
        for version, detectors in list(self._detectors.items()):
            if only is None or version in only:
                yield version, detectors.dump()

    def evidence(self) -> Iterator[tuple[Version, StreamKey, float]]:
        """Every stream's logarithm of the e-value; safe to use from another thread."""
        for version, detectors in list(self._detectors.items()):
            for key, log_evalue in list(detectors.evidence()):
                yield version, key, log_evalue
        for version, quality in self.quality.versions(model=""):
            if quality.watch.ages:
                yield version, (Signal.ACCURACY, None, ""), quality.watch.log_evalue

    def omnibus(self) -> Iterator[tuple[Version, float]]:
        """One logarithm of an e-value for all that is watched of a version; safe to use from another thread."""
        for version, detectors in list(self._detectors.items()):
            yield version, detectors.omnibus()
