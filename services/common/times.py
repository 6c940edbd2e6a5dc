"""Instants and spans as messages have them."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(ns: int) -> Timestamp:
    """An instant, from nanoseconds since 1970."""
    message = Timestamp()
    message.FromNanoseconds(ns)
    return message


def duration(ns: int) -> Duration:
    """A span, from nanoseconds."""
    message = Duration()
    message.FromNanoseconds(ns)
    return message
