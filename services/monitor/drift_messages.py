"""Turns what is watched into the messages of ``penstock.monitor.v1``."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import DoubleValue

from penstock.monitor.v1 import drift_service_pb2 as pb
from services.common.times import duration, timestamp
from services.monitor.domain.blocks import NS
from services.monitor.domain.detectors import VersionDetectors
from services.monitor.domain.drift.version import watched
from services.monitor.domain.drift.watched import WINDOW_S, Histogram, Part, Watched


def version_drift(model: str, version: str, detectors: VersionDetectors, *, now_s: float) -> pb.VersionDrift:
    message = pb.VersionDrift(
        model=model,
        version=version,
        arm=detectors.arm.name,
        window=duration(WINDOW_S * NS),
        omnibus_log_evalue=detectors.omnibus(),
        figures=[_figure(one) for one in watched(detectors, now_s=now_s)],
    )
    if detectors.judged_second:
        message.judged_time.CopyFrom(timestamp(detectors.judged_second * NS))
    return message


def _figure(one: Watched) -> pb.WatchedFigure:
    return pb.WatchedFigure(
        signal=f"SIGNAL_{one.signal.name}",
        phase="PHASE_UNSPECIFIED" if one.phase is None else f"PHASE_{one.phase.name}",
        replica=one.replica,
        state=f"STATE_{one.state.name}",
        reason=one.reason,
        log_evalue=one.log_evalue,
        log_evalue_needed=one.needed,
        unit=one.unit,
        label=one.label,
        normal=_known(one.normal),
        now=_known(one.now),
        observation_count=one.count,
        learnt_duration=duration(one.learnt.seconds * NS),
        needed_duration=duration(one.learnt.needed * NS),
        parts=[_part(part) for part in one.parts],
        histogram=_histogram(one.histogram),
    )


def _part(part: Part) -> pb.FigurePart:
    return pb.FigurePart(
        label=part.label,
        normal=part.normal,
        now=_known(part.now),
        log_evalue=part.log_evalue,
        histogram=_histogram(part.histogram),
    )


def _histogram(one: Histogram | None) -> pb.ValueHistogram | None:
    if one is None:
        return None
    now_shares = () if one.now is None else one.now.tolist()
    return pb.ValueHistogram(
        edges=one.edges.tolist(), normal_shares=one.normal.tolist(), now_shares=now_shares, distance=one.distance
    )


def _known(value: float | None) -> DoubleValue | None:
    return None if value is None else DoubleValue(value=value)
