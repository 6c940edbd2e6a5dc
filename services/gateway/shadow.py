"""Copies of answered requests for a candidate that is tried in the shadow: nobody waits for their answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from services.common.errors import InternalError, InvalidArgumentError, PenstockError
from services.common.trace_context import TraceContext
from services.gateway.domain import tallies
from services.gateway.domain.pairs import are_alike
from services.gateway.domain.plans import Choice
from services.gateway.domain.shares import Share
from services.gateway.domain.tallies import Tally
from services.gateway.domain.tickets import Arrival, Outcome, Ticket
from services.gateway.pending import Reply, error_of

MOST_COPIES = 128
MOST_BYTES = 32 * 1024 * 1024
"""Of all copies under way, with the baseline's answers to them; what comes beyond is not copied."""
_LONGEST_S = 30.0
_COMPARED_HERE_BYTES = 64 * 1024
"""Answers that are larger are compared in another thread."""
_POISON = "POISON_MESSAGE"
_NOBODY = Share("")

Answer = bytes | memoryview | None
"""A response; None for an error that the model made of the request."""


class Queue(Protocol):
    """The lanes."""

    def put(self, ticket: Ticket) -> None: ...

    def remove(self, ticket: Ticket) -> None: ...


class Cancellations(Protocol):
    """How model processes learn that nobody waits for their answers."""

    def cancel(self, ticket: Ticket) -> None: ...


class _Unasked:
    """The API that a copy came by: none."""

    operation = "shadow"
    no_streams = ""

    def attributes(self, _error: PenstockError | None) -> dict[str, str | int]:
        return {}


class _Nowhere:
    """Where a copy's answer goes."""

    def done(self) -> bool:
        return True

    def set_result(self, response: bytes | memoryview, /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...


_UNASKED, _NOWHERE = _Unasked(), _Nowhere()


class Followed:
    """The outcome of a request that is to be copied: it goes to whoever waits, and after that the copy may be made."""

    __slots__ = ("_outcome", "_then", "choice", "message", "request_id")

    def __init__(
        self,
        outcome: Outcome,
        message: bytes | memoryview,
        choice: Choice,
        request_id: str,
        then: Callable[[Followed, Answer], None],
    ) -> None:
        self._outcome = outcome
        self._then = then
        self.message = message
        self.choice = choice
        self.request_id = request_id

    def done(self) -> bool:
        return self._outcome.done()

    def set_result(self, response: bytes | memoryview, /) -> None:
        self._outcome.set_result(response)
        self._then(self, response)

    def set_exception(self, error: Exception, /) -> None:
        """What ended without the model's word has no twin, and what processes died of is not given to another one."""
        self._outcome.set_exception(error)
        if isinstance(error, (InternalError, InvalidArgumentError)) and error.reason != _POISON:
            self._then(self, None)


@dataclass(slots=True, eq=False)
class _Copy:
    """A copy under way. ``together`` requests were answered with the one it copies; ``until`` is the loop's time."""

    ticket: Ticket
    choice: Choice
    answer: Answer
    together: int
    until: float
    size: int


class Shadows:
    """Makes copies, compares their answers and counts. Belongs to one event loop's thread.

    Copies are not in the pending table: nothing is tried again, counted as a request, or waited for. All that is done
    here happens in later turns of the event loop than the one in which the request was answered, and its answer sent.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        cancellations: Cancellations,
        keys: Iterator[int],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``keys`` are those of all requests of this process."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Copies by model and outcome, since the start."""
        self._tallies: dict[str, Tally] = {}
        self._queue = queue
        self._cancellations = cancellations
        self._keys = keys
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        self._answered: list[tuple[Followed, Answer]] = []
        self._replied: list[tuple[_Copy, Reply, Answer]] = []
        self._is_due = False
        self._is_closed = False
        self._open: dict[int, _Copy] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Copies under way."""
        return len(self._open)

    def get(self, key: int) -> Ticket | None:
        copy = self._open.get(key)
        return None if copy is None else copy.ticket

    def follow(self, outcome: Outcome, message: bytes | memoryview, choice: Choice, request_id: str) -> Outcome:
        """The outcome to give a request that is to be copied."""
        return Followed(outcome, message, choice, request_id, self._note_answer)

    def take(self, reply: Reply, response: bytes | memoryview | None) -> None:
        """Take a reply to what no caller waits for: a copy, or what was settled before."""
        copy = self._open.pop(reply.request_key, None)
        if copy is not None:
            self._bytes -= copy.size
            self._replied.append((copy, reply, response))
            self._work_soon()

    def take_tallies(self) -> dict[str, Tally]:
        """What was counted since the last time, by comparison."""
        taken, self._tallies = self._tallies, {}
        return taken

    def sweep(self) -> None:
        """Give up copies that have waited too long, or whose version is no longer deployed."""
        now = self._loop.time()
        for copy in list(self._open.values()):
            if not copy.ticket.lane.is_deployed:
                self._give_up(copy, tallies.DROPPED)
            elif now >= copy.until:
                self._give_up(copy, tallies.EXPIRED)

    def close(self) -> None:
        """Give all copies up, and make no more."""
        self._is_closed = True
        for copy in list(self._open.values()):
            self._give_up(copy, tallies.DROPPED)

    def _give_up(self, copy: _Copy, outcome: str) -> None:
        del self._open[copy.ticket.key]
        self._bytes -= copy.size
        self._queue.remove(copy.ticket)
        self._cancellations.cancel(copy.ticket)
        self.counts[copy.choice.split.model, outcome] += 1

    def _note_answer(self, followed: Followed, answer: Answer) -> None:
        self._answered.append((followed, answer))
        self._work_soon()

    def _work_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Take what was answered and replied in the turn before; the requests of a batch are in one turn.

        Each connection sends its answers in a callback of its own, and those of a batch that come after the first one's
        come after this: so the work is put off until the turn that follows, and no answer waits for it.
        """
        self._is_due = False
        answered, self._answered = self._answered, []
        replied, self._replied = self._replied, []
        self._loop.call_soon(self._work, answered, replied)

    def _work(self, answered: list[tuple[Followed, Answer]], replied: list[tuple[_Copy, Reply, Answer]]) -> None:
        """Copy what was answered, and compare what was replied."""
        for followed, answer in answered:
            self._copy(followed, answer, together=len(answered))
        for copy, reply, response in replied:
            self._pair(copy, reply, response, together=max(copy.together, len(replied)))

    def _copy(self, followed: Followed, answer: Answer, *, together: int) -> None:
        choice, message = followed.choice, followed.message
        split, plan, now, now_ns = choice.split, choice.candidate, self._loop.time(), self._clock_ns()
        size = len(message) + len(answer or b"")
        is_room = len(self._open) < MOST_COPIES and self._bytes + size <= MOST_BYTES
        if self._is_closed or not is_room or not plan.lane.is_deployed or not plan.lane.can_be_drawn(now=now):
            self.counts[split.model, tallies.SKIPPED] += 1
            return
        timeout_s = min(plan.timeout_s, _LONGEST_S)
        trace = TraceContext.new_root(is_sampled=False)
        ticket = Ticket(
            next(self._keys),
            plan.lane,
            plan.tier,
            _NOBODY,
            Arrival(_UNASKED, now_ns, trace),
            _NOWHERE,
            message,
            followed.request_id,
            plan.rows,
            now + timeout_s,
            now_ns + int(timeout_s * 1e9),
            now_ns,
            trace,
            is_drawn=True,
            is_copy=True,
        )
        self._open[ticket.key] = _Copy(ticket, choice, answer, together, ticket.deadline, size)
        self._bytes += size
        self._queue.put(ticket)

    def _pair(self, copy: _Copy, reply: Reply, response: Answer, *, together: int) -> None:
        split, answer = copy.choice.split, copy.answer
        if reply.code or response is None:
            error = error_of(reply)
            if not isinstance(error, (InternalError, InvalidArgumentError)):  # nobody ran it
                self.counts[split.model, tallies.EXPIRED] += 1
                return
            outcome = tallies.BOTH_FAILED if answer is None else tallies.CANDIDATE_FAILED
        elif answer is None:
            outcome = tallies.BASELINE_FAILED
        else:
            self._compare(copy, answer, response, together=together)
            return
        self._count(copy, outcome, together=together)

    def _compare(self, copy: _Copy, answer: bytes | memoryview, response: bytes | memoryview, *, together: int) -> None:
        compare = partial(_compared, answer, response, copy.choice.split.pair_tolerance)
        if len(answer) + len(response) <= _COMPARED_HERE_BYTES:
            self._count(copy, compare(), together=together)
            return
        comparing = self._loop.run_in_executor(None, compare)
        comparing.add_done_callback(lambda done: self._count(copy, done.result(), together=together))

    def _count(self, copy: _Copy, outcome: str, *, together: int) -> None:
        split = copy.choice.split
        self.counts[split.model, outcome] += 1
        if split.comparison:
            self._tallies.setdefault(split.comparison, Tally()).add(outcome, together=together)


def _compared(answer: bytes | memoryview, response: bytes | memoryview, tolerance: float) -> str:
    try:
        messages: Sequence[pb.ModelInferResponse] = [
            pb.ModelInferResponse.FromString(one) for one in (answer, response)
        ]
    except DecodeError:
        return tallies.DIFFERED
    return tallies.AGREED if are_alike(*messages, tolerance=tolerance) else tallies.DIFFERED
