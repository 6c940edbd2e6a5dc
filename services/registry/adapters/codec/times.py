"""Instants that may be unset, and what callers send as instants and spans."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.common import times
from services.common.errors import InvalidArgumentError


def timestamp(ns: int) -> Timestamp | None:
    """An instant; None for 0, which stands for none."""
    return times.timestamp(ns) if ns else None


def nanoseconds(message: Timestamp | Duration) -> int:
    try:
        ns = message.ToNanoseconds()
    except ValueError:
        ns = -1
    if not 0 <= ns < 2**63:
        got = f"{message.seconds} s and {message.nanos} ns"
        raise InvalidArgumentError(f"got {got}, expected an instant from 1970 to 2262, or a span of at most 292 years")
    return ns
