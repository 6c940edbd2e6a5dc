"""All that is watched of one version, in the order in which one would look at it."""

from __future__ import annotations

from services.monitor.domain.detectors import VersionDetectors
from services.monitor.domain.drift import labels, speed
from services.monitor.domain.drift.content import content
from services.monitor.domain.drift.watched import WINDOW_S, Watched
from services.monitor.domain.quality.watch import AccuracyWatch


def watched(detectors: VersionDetectors, accuracy: AccuracyWatch | None = None, *, now_s: float) -> list[Watched]:
    """Those in alarm first, then those with the most evidence."""
    since = int(now_s) - WINDOW_S
    figures = [
        *speed.rules(detectors),
        speed.errors(detectors, since=since),
        speed.shape(detectors, since=since),
        *speed.latency(detectors, since=since),
        *speed.replicas(detectors, since=since),
        *content(detectors.content, since=since),
        *labels.accuracy(accuracy),
    ]
    return sorted(figures, key=lambda one: one.urgency, reverse=True)
