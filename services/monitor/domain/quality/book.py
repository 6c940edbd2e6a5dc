"""How good all versions are, as far as labels tell."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.monitor.domain.blocks import NS, STABLE
from services.monitor.domain.evidence import Budget
from services.monitor.domain.findings import Alarm, Recovery
from services.monitor.domain.phases import Severity
from services.monitor.domain.quality.estimate import Estimator
from services.monitor.domain.quality.labels import Judgement, Label
from services.monitor.domain.quality.predictions import Prediction, Predictions
from services.monitor.domain.quality.tally import Tally
from services.monitor.domain.quality.watch import AccuracyWatch

PREFIX = "quality/"
"""Before a model's name, where what labels taught is stored beside what else was learnt."""
MAX_VERSIONS = 200

Version = tuple[str, str]


@dataclass(slots=True)
class VersionQuality:
    """What is known of one version."""

    watch: AccuracyWatch
    tally: Tally = field(default_factory=Tally)
    estimator: Estimator = field(default_factory=Estimator)
    predictions: int = 0
    arm: str = STABLE


def is_quality(model: str) -> bool:
    return model.startswith(PREFIX)


class QualityBook:
    """At most ``MAX_VERSIONS``: the one that nothing was heard of for the longest time makes room."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._versions: OrderedDict[Version, VersionQuality] = OrderedDict()

    def see(self, told: Predictions) -> None:
        """Take answers in that wait for labels."""
        quality = self._of((told.model, told.version))
        quality.predictions += len(told.keys)
        quality.arm = told.arm
        quality.estimator.see(told.confidence, second=told.end_ns // NS)

    def add(self, prediction: Prediction, label: Label, judgement: Judgement, *, now_ns: int) -> None:
        """Take a label in that met its answer."""
        quality = self._of((prediction.model, prediction.version))
        quality.arm = prediction.arm
        age_s = max(0.0, (label.time_ns - prediction.time_ns) / NS)
        quality.tally.add(judgement, age_s=age_s, slices=label.slices, now_ns=now_ns)
        quality.watch.add(judgement, answered_ns=prediction.time_ns, age_s=age_s)
        if judgement.is_class and judgement.loss is not None and prediction.confidence is not None:
            quality.estimator.learn(prediction.confidence, is_right=judgement.loss == 0)

    def _of(self, version: Version) -> VersionQuality:
        known = self._versions.get(version)
        if known is None:
            known = self._versions[version] = VersionQuality(AccuracyWatch(self._budget))
            while len(self._versions) > MAX_VERSIONS:
                self._versions.popitem(last=False)
        self._versions.move_to_end(version)
        return known

    def get(self, version: Version) -> VersionQuality | None:
        return self._versions.get(version)

    def versions(self, *, model: str) -> list[tuple[Version, VersionQuality]]:
        """Those of a model ("" for all), by model and version. Safe to use from another thread."""
        return sorted(
            ((version, one) for version, one in list(self._versions.items()) if model in ("", version[0])),
            key=lambda one: one[0],
        )

    @property
    def count(self) -> int:
        """Streams that share the budget of false alarms."""
        return sum(one.watch.count for one in self._versions.values())

    def judge(self) -> Iterator[tuple[Version, Alarm | Recovery]]:
        """What was found since the last time. What a shadow answers nobody gets, so that it wakes nobody."""
        for version, one in list(self._versions.items()):
            for finding in one.watch.findings():
                if isinstance(finding, Alarm):
                    severity = Severity.TICKET if one.arm == "shadow" else finding.severity
                    yield version, replace(finding, arm=one.arm, severity=severity)
                else:
                    yield version, finding

    def adopt_alarm(self, version: Version) -> None:
        """Take over an alarm of before a restart."""
        self._of(version).watch.adopt_alarm()

    def knows(self, version: Version) -> bool:
        """Whether it is known what is normal of a version, so that the end of an alarm can be seen."""
        one = self._versions.get(version)
        return one is not None and any(age.stream is not None for age in one.watch.ages.values())

    def dump(self) -> dict[Version, Mapping[str, Any]]:
        """What was learnt, under names beside those of models' versions."""
        return {
            (f"{PREFIX}{model}", version): {
                "arm": one.arm,
                "tally": one.tally.dump(),
                "watch": one.watch.dump(),
                "estimator": one.estimator.dump(),
            }
            for (model, version), one in self._versions.items()
            if one.tally.labels
        }

    def load(self, data: Mapping[Version, Mapping[str, Any]]) -> None:
        """The reverse of :meth:`dump`.

        Raises:
            KeyError, TypeError, ValueError: the data are of another make.
        """
        for (model, version), stored in list(data.items())[:MAX_VERSIONS]:
            self._versions[model.removeprefix(PREFIX), version] = VersionQuality(
                AccuracyWatch.load(stored["watch"], budget=self._budget),
                Tally.load(stored["tally"]),
                Estimator.load(stored["estimator"]),
                arm=str(stored["arm"]),
            )
