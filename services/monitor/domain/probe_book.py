"""Golden probes of all versions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.probe_reports import ProbeOutcome, ProbeReport
from services.monitor.domain.probes import VersionProbes

PREFIX = "probes/"
"""Before a model's name, where golden answers are stored beside what else was learnt."""
MAX_VERSIONS = 1_000

Version = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ProbeState:
    """The last probe of a replica. ``fault`` is empty where it answered what it should."""

    report: ProbeReport
    fault: str

    @property
    def outcome(self) -> ProbeOutcome:
        """The replica's own, unless it is at fault without knowing it."""
        own = self.report.outcome
        return ProbeOutcome.FAIL if self.fault and own in (ProbeOutcome.PASS, ProbeOutcome.SKIP) else own

    @property
    def key(self) -> tuple[str, str, str]:
        """Model, version and replica: what lists are sorted by."""
        return self.report.model, self.report.version, self.report.instance


def is_probes(model: str) -> bool:
    return model.startswith(PREFIX)


class ProbeBook:
    """At most ``MAX_VERSIONS``: the one that was probed the longest ago makes room."""

    def __init__(self) -> None:
        self._versions: OrderedDict[Version, VersionProbes] = OrderedDict()

    def take(self, report: ProbeReport) -> None:
        version = report.model, report.version
        self._of(version).take(report)
        self._versions.move_to_end(version)

    def _of(self, version: Version) -> VersionProbes:
        known = self._versions.get(version)
        if known is None:
            known = self._versions[version] = VersionProbes()
            while len(self._versions) > MAX_VERSIONS:
                self._versions.popitem(last=False)
        return known

    def forget(self, version: Version, instance: str) -> None:
        """A replica stops."""
        known = self._versions.get(version)
        if known is not None:
            known.forget(instance)

    def adopt_alarm(self, version: Version, instance: str, *, now_ns: int) -> None:
        """Take over an alarm of before a restart."""
        self._of(version).adopt_alarm(instance, now_ns=now_ns)

    def judge(self, now_ns: int) -> Iterator[tuple[Version, Alarm | Recovery]]:
        """Judge what came since the last time."""
        for version, probes in list(self._versions.items()):
            if not probes.is_idle:
                for finding in probes.judge(now_ns):
                    yield version, finding

    def states(self, *, model: str) -> list[ProbeState]:
        """The last probe of every replica of a model ("" for all), by model, version and replica.

        Safe to use from another thread.
        """
        found = [
            ProbeState(report, probes.fault_of(report).removesuffix(","))
            for (name, _), probes in list(self._versions.items())
            if model in ("", name)
            for report in list(probes.reports.values())
        ]
        return sorted(found, key=lambda one: one.key)

    def dump(self) -> dict[Version, Mapping[str, Any]]:
        """Golden answers, under names beside those of models' versions."""
        return {
            (f"{PREFIX}{model}", version): data
            for (model, version), probes in self._versions.items()
            if (data := probes.dump())
        }

    def load(self, data: Mapping[Version, Mapping[str, Any]]) -> None:
        """The reverse of :meth:`dump`.

        Raises:
            KeyError, TypeError, ValueError: the data are of another make.
        """
        for (model, version), golden in list(data.items())[:MAX_VERSIONS]:
            self._of((model.removeprefix(PREFIX), version)).load(golden)
