"""Lanes: the Redis streams that requests travel through, one per model version and priority.

A lane's entry holds plain fields, readable with XRANGE and from any language, beside the envelope and the request's
own bytes. All keys of one model share a hash tag, so that a Redis Cluster keeps them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from penstock.queue.v1.envelope_pb2 import Envelope

GROUP = "workers"
"""Consumer group of the model processes on every lane."""

LEASE_MS = 2_000
"""How long a model process counts as alive after it last renewed its lease."""

LEASE_RENEWAL_MS = 500
"""How often a model process renews its lease."""

DEAD_LETTERS_KEPT = 1_000
"""About how many poison messages a dead-letter stream keeps."""


@dataclass(frozen=True, slots=True)
class LaneKeys:
    """The Redis keys of one model version."""

    model: str
    version: str

    def stream(self, priority: int) -> str:
        """Stream of requests with this priority (0 where the model has one priority)."""
        return f"penstock:{{{self.model}}}:{self.version}:lane:{priority}"

    def streams(self, priority_levels: int) -> list[str]:
        """All streams, the most urgent first."""
        return (
            [self.stream(priority) for priority in range(1, priority_levels + 1)]
            if priority_levels > 1
            else [self.stream(0)]
        )

    @property
    def leases(self) -> str:
        """Sorted set of live consumers; the score is when the lease ends, milliseconds of Unix time."""
        return f"penstock:{{{self.model}}}:{self.version}:leases"

    @property
    def dead_letters(self) -> str:
        """Stream of poison messages: the entry's fields, and ``reason``."""
        return f"penstock:{{{self.model}}}:{self.version}:dead"


@dataclass(frozen=True, slots=True)
class Entry:
    """A request on its way through a lane.

    ``enqueue_ns`` and ``deadline_ns`` are nanoseconds of Unix time, since gateway and model process may be on
    different hosts.
    ``attempt`` is the number of the first delivery; redelivery by Redis adds to it. It is 1 also when the gateway
    enqueues again what Redis lost, since nobody knows how far that had come.
    ``request`` is the serialised ``inference.ModelInferRequest``, untouched; empty when it stayed with the gateway.
    """

    envelope: Envelope
    request: bytes
    traceparent: str
    tracestate: str
    enqueue_ns: int
    deadline_ns: int
    attempt: int = 1


class MalformedEntryError(ValueError):
    """A lane holds something that is no request of ours."""


def encode(entry: Entry) -> dict[str | bytes, bytes | str | int]:
    """The entry as the fields of XADD."""
    fields: dict[str | bytes, bytes | str | int] = {
        "traceparent": entry.traceparent,
        "enq_ns": entry.enqueue_ns,
        "deadline_ns": entry.deadline_ns,
        "attempt": entry.attempt,
        "env": entry.envelope.SerializeToString(),
        "req": entry.request,
    }
    if entry.tracestate:
        fields["tracestate"] = entry.tracestate
    return fields


def decode(fields: Mapping[bytes, bytes]) -> Entry:
    """The reverse of :func:`encode`, on fields as Redis answers them.

    Raises:
        MalformedEntryError: a field is missing or can't be read.
    """
    try:
        return Entry(
            envelope=Envelope.FromString(fields[b"env"]),
            request=fields[b"req"],
            traceparent=fields[b"traceparent"].decode("ascii"),
            tracestate=fields.get(b"tracestate", b"").decode("ascii"),
            enqueue_ns=int(fields[b"enq_ns"]),
            deadline_ns=int(fields[b"deadline_ns"]),
            attempt=int(fields[b"attempt"]),
        )
    except (KeyError, ValueError, DecodeError) as error:
        raise MalformedEntryError(f"malformed lane entry with fields {sorted(fields)}: {error!r}") from error
