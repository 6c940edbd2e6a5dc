"""Golden probes of one version: which of its replicas don't answer what they should. Rules, nothing is estimated.

A replica says whether it answers as it did after its load. Here its answer is compared with the version's golden one,
the first that was heard on such a device, and the files that it loaded with the registry's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from services.monitor.domain.blocks import NS
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Cause, Signal
from services.monitor.domain.probe_reports import Answer, ProbeOutcome, ProbeReport

MAX_REPLICAS = 64
MAX_BACKERS = 16
GONE_NS = 1_800 * NS
"""A replica that told of no probe for so long is gone: three of the longest periods."""
_SHOWN_DIGITS = 12
_PARTS = ("values", "slack")


@dataclass(slots=True)
class Golden:
    """An answer, and replicas that gave it."""

    answer: Answer
    backers: set[str] = field(default_factory=set)


class VersionProbes:
    """The replicas of one version: at most ``MAX_REPLICAS``."""

    def __init__(self) -> None:
        self.reports: dict[str, ProbeReport] = {}
        """The last one of each replica."""
        self._golden: dict[str, Golden] = {}
        self._told: dict[str, int] = {}
        """Replicas that an alarm was raised about, and when they were heard of last, in Unix ns."""
        self._version_told_ns = 0
        """When an alarm was raised about all of them; 0: there is none."""

    @property
    def is_idle(self) -> bool:
        return not (self.reports or self._told or self._version_told_ns)

    def take(self, report: ProbeReport) -> None:
        name = report.instance
        if name not in self.reports and len(self.reports) >= MAX_REPLICAS:
            return
        known = self.reports.get(name)
        if known is not None and known.end_ns > report.end_ns:
            return
        self.reports[name] = report
        if name in self._told:
            self._told[name] = report.end_ns
        if report.answer and report.is_sound:
            self._back(report)

    def _back(self, report: ProbeReport) -> None:
        golden = self._golden.setdefault(report.kind, Golden(report.answer))
        if not report.answer.differs(golden.answer):
            if len(golden.backers) < MAX_BACKERS:
                golden.backers.add(report.instance)
            return
        # One replica alone may be the odd one out, although it was the first.
        others = {
            name
            for name, other in self.reports.items()
            if other.kind == report.kind and other.is_sound and not other.answer.differs(report.answer)
        }
        if len(golden.backers) == 1 and len(others) > 1:
            self._golden[report.kind] = Golden(report.answer, others)

    def forget(self, instance: str) -> None:
        """It stops, and is at fault no more."""
        self.reports.pop(instance, None)
        if instance in self._told:
            self._told[instance] = 0

    def adopt_alarm(self, instance: str, *, now_ns: int) -> None:
        """Take over an alarm of before a restart; that of the version as a whole names no replica."""
        if instance:
            self._told[instance] = now_ns
        else:
            self._version_told_ns = now_ns

    def fault_of(self, report: ProbeReport) -> str:
        """What is wrong with a replica, to follow its name; empty where nothing is."""
        expected = report.expected or self._usual_weights()
        if report.weights and expected and report.weights != expected:
            loaded, meant = report.weights[:_SHOWN_DIGITS], expected[:_SHOWN_DIGITS]
            return f"has loaded other files than its version has: their digest is {loaded}…, expected {meant}…,"
        if report.outcome is ProbeOutcome.ERROR:
            return f"fails on its golden probe: {report.detail},"
        if report.outcome is ProbeOutcome.FAIL:
            return f"answers its golden probe otherwise than after its load: {report.detail},"
        golden = self._golden.get(report.kind)
        if golden is None or not report.answer:
            return ""
        difference = report.answer.differs(golden.answer)
        return f"answers its golden probe unlike the version did before: it differs {difference}," if difference else ""

    def _usual_weights(self) -> str:
        """What most replicas loaded, where the registry's digest isn't told; empty where there is no majority."""
        counts = Counter(one.weights for one in list(self.reports.values()) if one.weights)
        if not counts:
            return ""
        usual, count = counts.most_common(1)[0]
        return usual if 2 * count > counts.total() else ""

    def judge(self, now_ns: int) -> Iterator[Alarm | Recovery]:
        """Alarms about replicas that are at fault now, and recoveries of those that aren't any more."""
        for name in [name for name, one in self.reports.items() if one.end_ns < now_ns - GONE_NS]:
            del self.reports[name]
        faults = {name: fault for name, one in self.reports.items() if (fault := self.fault_of(one))}
        sound = [one for name, one in self.reports.items() if name not in faults]
        for name, fault in faults.items():
            if name not in self._told:
                self._told[name] = self.reports[name].end_ns
                beside = "; its siblings answer as ever" if sound else ""
                yield self._alarm(self.reports[name], fault, beside=beside, innocent=sound)
        if len(faults) > 1 and not sound and not self._version_told_ns:
            self._version_told_ns = now_ns
            worst = max((self.reports[name] for name in faults), key=lambda one: one.worst_error)
            alarm = self._alarm(worst, faults[worst.instance], beside=f"; all of its {len(faults)} replicas do")
            yield replace(alarm, replica="", cause=Cause.VERSION)
        yield from self._recoveries(faults, now_ns)

    def _recoveries(self, faults: Mapping[str, str], now_ns: int) -> Iterator[Recovery]:
        for name, heard_ns in list(self._told.items()):
            if name in faults:
                continue
            if name in self.reports or heard_ns < now_ns - GONE_NS:
                del self._told[name]
                yield Recovery(Signal.PROBE, None, is_lost=name not in self.reports, replica=name)
        is_over = bool(self.reports) or self._version_told_ns < now_ns - GONE_NS
        if self._version_told_ns and is_over and not self._told:
            self._version_told_ns = 0
            yield Recovery(Signal.PROBE, None)

    @staticmethod
    def _alarm(report: ProbeReport, fault: str, *, beside: str, innocent: list[ProbeReport] | None = None) -> Alarm:
        return Alarm(
            Signal.PROBE,
            None,
            log_evalue=0.0,
            change_second=report.end_ns // NS,
            level=0,
            before=np.zeros(1),
            after=np.array([report.worst_error]),
            replica=report.instance,
            cause=Cause.REPLICA,
            note=f"{fault}\n{beside}",
            traces=(report.trace_id,),
            innocent=tuple(one.trace_id for one in innocent or ()),
        )

    def dump(self) -> dict[str, Any]:
        """The golden answers, as plain JSON values."""
        return {
            kind: {
                "exact": one.answer.exact,
                "values": one.answer.values.astype("<f8").tobytes().hex(),
                "slack": one.answer.slack.astype("<f8").tobytes().hex(),
                "backers": sorted(one.backers),
            }
            for kind, one in self._golden.items()
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """The reverse of :meth:`dump`.

        Raises:
            KeyError, TypeError, ValueError: the data are of another make.
        """
        self._golden = {
            kind: Golden(
                Answer(str(one["exact"]), *(np.frombuffer(bytes.fromhex(one[part]), "<f8") for part in _PARTS)),
                set(one["backers"]),
            )
            for kind, one in data.items()
        }
