"""Instants and spans: whole nanoseconds here, messages on the wire."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import InvalidArgumentError


def timestamp(ns: int) -> Timestamp | None:
    if not ns:
        return None
    message = Timestamp()
    message.FromNanoseconds(ns)
    return message


def duration(ns: int) -> Duration:
    message = Duration()
    message.FromNanoseconds(ns)
    return message


def nanoseconds(message: Timestamp | Duration) -> int:
    try:
        ns = message.ToNanoseconds()
    except ValueError:
        ns = -1
    if not 0 <= ns < 2**63:
        got = f"{message.seconds} s and {message.nanos} ns"
        raise InvalidArgumentError(f"got {got}, expected an instant from 1970 to 2262, or a span of at most 292 years")
    return ns
