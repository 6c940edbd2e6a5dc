"""Turns the messages of ``penstock.monitor.v1.FeedbackService`` into labels, and what is known into messages."""

from __future__ import annotations

import math

from penstock.monitor.v1 import feedback_service_pb2 as pb
from services.common import names
from services.common.errors import InvalidArgumentError
from services.common.request_keys import request_key
from services.common.times import duration, timestamp
from services.monitor.domain.quality import tally
from services.monitor.domain.quality.book import Version, VersionQuality
from services.monitor.domain.quality.labels import Label
from services.monitor.domain.quality.means import Mean
from services.monitor.domain.quality.tally import Cell

MAX_ID = 256
MAX_CLASS = 256
MAX_ROW = 65_535
MAX_SLICES = MAX_METRICS = 4
MAX_NAME, MAX_VALUE = 63, 63
RESERVED = ("accuracy", "log_loss", "mae")


def label_of(message: pb.Label, *, now_ns: int) -> Label:
    """A label, checked in all that can be told without its prediction.

    Raises:
        InvalidArgumentError: it can't be one.
    """
    if not 1 <= len(message.request_id) <= MAX_ID:
        raise InvalidArgumentError(f"got a request_id of {len(message.request_id)} characters, expected 1 to {MAX_ID}")
    if not 0 <= message.row <= MAX_ROW:
        raise InvalidArgumentError(f"got row {message.row}, expected 0 to {MAX_ROW}")
    time_ns = message.label_time.ToNanoseconds() if message.HasField("label_time") else now_ns
    truth = message.WhichOneof("truth")
    if truth is None and not message.metrics:
        raise InvalidArgumentError("got neither a class, nor a number, nor metrics, expected one of them")
    if len(message.class_name) > MAX_CLASS:
        raise InvalidArgumentError(
            f"got a class_name of {len(message.class_name)} characters, expected at most {MAX_CLASS}"
        )
    if truth == "number" and not math.isfinite(message.number):
        raise InvalidArgumentError(f"got the number {message.number}, expected a finite one")
    return Label(
        model=names.model_id(message.model),
        key=int.from_bytes(request_key(message.request_id, message.row), "little", signed=True),
        time_ns=min(time_ns, now_ns),
        class_index=message.class_index if truth == "class_index" else None,
        class_name=message.class_name if truth == "class_name" else None,
        number=message.number if truth == "number" else None,
        slices=_slices(message),
        metrics=_metrics(message),
    )


def _slices(message: pb.Label) -> tuple[tuple[str, str], ...]:
    if len(message.slices) > MAX_SLICES:
        raise InvalidArgumentError(f"got {len(message.slices)} slices, expected at most {MAX_SLICES}")
    for key, value in message.slices.items():
        _check_name("slice", key)
        if not (1 <= len(value) <= MAX_VALUE and value.isprintable()):
            raise InvalidArgumentError(
                f"got slice {key}={value[:80]!r}, expected a value of 1 to {MAX_VALUE} printable characters"
            )
    return tuple(sorted(message.slices.items()))


def _metrics(message: pb.Label) -> dict[str, float]:
    if len(message.metrics) > MAX_METRICS:
        raise InvalidArgumentError(f"got {len(message.metrics)} metrics, expected at most {MAX_METRICS}")
    for name, value in message.metrics.items():
        _check_name("metric", name)
        if name in RESERVED:
            raise InvalidArgumentError(f"got metric {name}, which is computed here; expected a name of your own")
        if not math.isfinite(value) or abs(value) > 1e100:
            raise InvalidArgumentError(f"got {value} as metric {name}, expected a finite number up to 1e100")
    return dict(message.metrics)


def _check_name(what: str, name: str) -> None:
    if not (1 <= len(name) <= MAX_NAME and name.isprintable() and "=" not in name and not name.isspace()):
        raise InvalidArgumentError(
            f"got {what} {name[:80]!r}, expected 1 to {MAX_NAME} printable characters and no '='"
        )


def version_quality(version: Version, quality: VersionQuality, *, now_ns: int) -> pb.VersionQuality:
    message = pb.VersionQuality(
        model=version[0],
        version=version[1],
        label_count=quality.tally.labels,
        prediction_count=quality.predictions,
        figures=[_figure(cell, mean) for cell, mean in quality.tally.means()],
    )
    if quality.tally.last_ns:
        message.last_label_time.CopyFrom(timestamp(quality.tally.last_ns))
    if (found := quality.estimator.estimate(second=now_ns // 10**9)) is not None:
        message.estimate.CopyFrom(
            pb.AccuracyEstimate(
                value=found.value,
                low=found.low,
                high=found.high,
                prediction_count=found.predictions,
                label_count=found.labels,
                is_hint=True,
            )
        )
    return message


def _figure(cell: Cell, mean: Mean) -> pb.QualityFigure:
    is_share = cell.metric in tally.SHARES
    low, high = mean.interval(is_share=is_share)
    kind = pb.QualityFigure.GUARANTEE_ANYTIME if is_share else pb.QualityFigure.GUARANTEE_ASYMPTOTIC
    message = pb.QualityFigure(
        metric=cell.metric,
        slice=cell.slice,
        is_recent=cell.is_recent,
        label_count=mean.count,
        value=mean.mean,
        low=low,
        high=high,
        guarantee=kind,
    )
    if cell.age is not None:
        since, until = list(tally.ages())[cell.age]
        message.min_age_duration.CopyFrom(duration(since))
        if until is not None:
            message.max_age_duration.CopyFrom(duration(until))
    return message
