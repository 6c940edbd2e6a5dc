"""A request between its admission and its one outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.common.errors import PenstockError
from services.common.trace_context import TraceContext
from services.gateway.domain.lane import Lane
from services.gateway.domain.plans import Plan
from services.gateway.domain.response_stream import ResponseStream
from services.gateway.domain.shares import Share
from services.gateway.domain.tiers import Tier


class Surface(Protocol):
    """The API that a request came by, for its span."""

    @property
    def operation(self) -> str:
        """The SERVER span's name."""

    @property
    def no_streams(self) -> str:
        """What is said of decoupled models where this API serves none; empty where it does."""

    def attributes(self, error: PenstockError | None) -> dict[str, str | int]:
        """The SERVER span's attributes that this API adds."""


class Outcome(Protocol):
    """Where the end of a request goes; an asyncio.Future is one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, response: bytes | memoryview, /) -> None:
        """Hand over the serialised response."""

    def set_exception(self, error: Exception, /) -> None: ...


class Arrival(NamedTuple):
    """When a request came, by which API, and the identity of its SERVER span; ``parent`` is the caller's span."""

    surface: Surface
    start_ns: int
    context: TraceContext
    parent: TraceContext | None = None
    tracestate: str = ""


@dataclass(slots=True, eq=False)
class Ticket:
    """Everything that is needed to enqueue an admitted request, again if need be, and to settle it once.

    ``outcome`` gets the serialised response or the error. ``deadline`` is seconds of the event loop's clock,
    ``deadline_ns`` the same instant in nanoseconds of Unix time. ``entry_id`` and ``sent_ns`` (Unix time) are set when
    Redis has the entry, ``sent_ns`` also when a model process got the request past the lane; ``attempt`` is 2 once that
    one may have died of it. ``producer`` is the PRODUCER span's identity. ``is_unwanted`` asks for the entry's removal.
    ``share`` is its caller's. ``is_drawn``: a lot, or the caller's key, chose the version. ``refuge`` is where it may
    go if that can't answer, and ``heir`` the ticket that it got there. ``is_copy``: nobody waits for its answer.
    """

    key: int
    lane: Lane
    tier: Tier
    share: Share
    arrival: Arrival
    outcome: Outcome
    message: bytes | memoryview
    request_id: str
    rows: int
    deadline: float
    deadline_ns: int
    enqueue_ns: int
    producer: TraceContext
    entry_id: bytes = b""
    sent_ns: int = 0
    attempt: int = 1
    is_sent: bool = False
    is_unwanted: bool = False
    is_drawn: bool = False
    is_copy: bool = False
    refuge: Plan | None = None
    heir: Ticket | None = None

    @property
    def arm(self) -> str:
        """What its version is to it, as spans name it."""
        return "shadow" if self.is_copy else self.lane.arm

    @property
    def responses(self) -> int:
        """How many responses came so far; with one the request must not run again."""
        return self.outcome.received if isinstance(self.outcome, ResponseStream) else 0

    @property
    def priority(self) -> int:
        return self.tier.priority

    @property
    def stream(self) -> str:
        """The key of the stream that the ticket goes into."""
        return self.tier.stream
