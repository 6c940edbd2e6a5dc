"""Lanes: the Redis streams that requests travel through, one per model version and priority.

A lane's entry holds plain fields, readable with XRANGE and from any language, beside the envelope and the request's
own bytes. All keys of one model share a hash tag, so that a Redis Cluster keeps them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from penstock.queue.v1.envelope_pb2 import Arm, Envelope

GROUP = "workers"
"""Consumer group of the model processes on every lane."""

LEASE_MS = 2_000
"""How long a model process counts as alive after it last renewed its lease."""

LEASE_RENEWAL_MS = 500
"""How often a model process renews its lease while something is in hand, its own or another's."""

IDLE_LEASE_RENEWAL_MS = 1_000
"""How often while nothing is."""

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
    def idle(self) -> str:
        """Sorted set of consumers that wait for a request; the score is until when, milliseconds of Unix time."""
        return f"penstock:{{{self.model}}}:{self.version}:idle"

    @property
    def dead_letters(self) -> str:
        """Stream of poison messages: the entry's fields, and ``reason``."""
        return f"penstock:{{{self.model}}}:{self.version}:dead"


@dataclass(slots=True)  # not frozen: that alone takes 1 µs for each entry
class Entry:
    """A request on its way through a lane.

    ``enqueue_ns`` and ``deadline_ns`` are nanoseconds of Unix time, since gateway and model process may be on
    different hosts.
    ``attempt`` is the number of the first delivery; redelivery by Redis adds to it. It is 1 also when the gateway
    enqueues again what Redis lost, since nobody knows how far that had come; 2 after a model process died that had got
    the request past the lane.
    ``request`` is the serialised ``inference.ModelInferRequest``, untouched; empty when it stayed with the gateway.
    """

    envelope: Envelope
    request: bytes | memoryview
    traceparent: str
    tracestate: str
    enqueue_ns: int
    deadline_ns: int
    attempt: int = 1


class MalformedEntryError(ValueError):
    """A lane holds something that is no request of ours."""


def encode(entry: Entry) -> dict[str | bytes, bytes | str | int]:
    """The entry as the fields of XADD.

    Few, because each costs time in Redis and at both ends: "head" is the traceparent, when the request was enqueued,
    its deadline and its attempt, with a space between them.
    """
    fields: dict[str | bytes, bytes | str | int] = {
        "head": f"{entry.traceparent} {entry.enqueue_ns} {entry.deadline_ns} {entry.attempt}",
        "env": entry.envelope.SerializeToString(),
        "req": bytes(entry.request),
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
        traceparent, enqueue_ns, deadline_ns, attempt = fields[b"head"].decode("ascii").rsplit(" ", 3)
        return Entry(
            Envelope.FromString(fields[b"env"]),
            fields[b"req"],
            traceparent,
            fields[b"tracestate"].decode("ascii") if b"tracestate" in fields else "",
            int(enqueue_ns),
            int(deadline_ns),
            int(attempt),
        )
    except (KeyError, ValueError, DecodeError) as error:
        raise MalformedEntryError(f"malformed lane entry with fields {sorted(fields)}: {error!r}") from error


class EntryPacker:
    """Packs the XADDs of one stream for one gateway: :func:`encode`, with what all entries share made once."""

    def __init__(
        self,
        stream: str,
        *,
        gateway_id: str,
        reply_address: str,
        priority: int,
        arm: Arm = Arm.ARM_UNSPECIFIED,
        is_drawn: bool = False,
    ) -> None:
        self._head = b"XADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$4\r\nhead\r\n$" % (len(stream.encode()), stream.encode())
        self._envelope = Envelope(
            gateway_id=gateway_id, reply_address=reply_address, priority=priority, arm=arm, is_drawn=is_drawn
        )

    def pack(
        self,
        request: bytes,
        *,
        key: int,
        request_id: str,
        rows: int,
        payload_bytes: int,
        payload: tuple[int, int] = (0, 0),
        is_sampled: bool,
        traceparent: str,
        tracestate: str,
        enqueue_ns: int,
        deadline_ns: int,
        attempt: int = 1,
    ) -> bytes:
        """One command. The arguments are those of :class:`Entry` and ``Envelope``; ``payload`` is buffer and use."""
        envelope = self._envelope
        envelope.request_key = key
        envelope.request_id = request_id
        envelope.rows = rows
        envelope.payload_bytes = payload_bytes
        envelope.payload_buffer, envelope.payload_use = payload
        envelope.is_sampled = is_sampled
        env = envelope.SerializeToString()
        head = b"%b %d %d %d" % (traceparent.encode("ascii"), enqueue_ns, deadline_ns, attempt)
        return b"*%d\r\n$4\r\n%b%d\r\n%b\r\n$3\r\nenv\r\n$%d\r\n%b\r\n$3\r\nreq\r\n$%d\r\n%b\r\n%b" % (
            11 if tracestate else 9,
            self._head,
            len(head),
            head,
            len(env),
            env,
            len(request),
            request,
            b"$10\r\ntracestate\r\n$%d\r\n%b\r\n" % (len(tracestate), tracestate.encode("ascii"))
            if tracestate
            else b"",
        )
