"""One ModelStreamInfer: requests as they come, each with its responses as they are made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from services.common.boundary import internal_message
from services.common.errors import InternalError, PenstockError, UnavailableError
from services.common.status import code_of
from services.common.stream_window import UNREPORTED_BYTES, UNREPORTED_RESPONSES
from services.gateway.domain.draws import Headers
from services.gateway.domain.options import wants_final_response
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.response_stream import ResponseStream
from services.gateway.domain.tickets import Arrival, Ticket
from services.gateway.inference import Desk
from services.gateway.stream_messages import end_message, error_message, response_message

_MOST_OPEN = 256
_MOST_UNREAD_BYTES = 4 << 20
"""No further request is read while so many are open, or their caller doesn't read what was answered."""


class Context(Protocol):
    """The call, as a servicer sees it."""

    async def write(self, message: bytes, /) -> None: ...

    def time_remaining(self) -> float | None: ...


def shutting_down() -> UnavailableError:
    return UnavailableError("the gateway is shutting down", reason="SHUTTING_DOWN")


class StreamedRequest(ResponseStream):
    """A request within a stream; also the surface that its spans tell of.

    Those of models that are not decoupled are answered in the order in which they came, as Triton does: until then they
    are ``in_turn``.
    """

    operation = "inference.GRPCInferenceService/ModelStreamInfer"
    no_streams = ""

    def __init__(self, call: StreamCall) -> None:
        super().__init__(most_unreported=UNREPORTED_RESPONSES, most_unreported_bytes=UNREPORTED_BYTES)
        self.request_id = self.model = self.version = ""
        self.wants_end = False
        self.is_in_turn = True
        self.ticket: Ticket | None = None
        self.held: list[bytes] = []
        """What waits for its turn."""
        self._call = call

    def attributes(self, error: PenstockError | None) -> dict[str, str | int]:
        return {
            "rpc.system.name": "grpc",
            "rpc.method": self.operation,
            "rpc.response.status_code": "OK" if error is None else code_of(error).name,
            "penstock.responses": self.received,
        }

    def on_response(self, response: bytes | memoryview) -> None:
        self._call.say(self, response_message(response, is_final=False))

    def on_end(self, response: bytes | memoryview) -> None:
        if response:
            self.received += 1
            self._call.say(self, response_message(response, is_final=True))
        elif self.wants_end:
            self._call.say(self, end_message(request_id=self.request_id, model=self.model, version=self.version))
        self._call.close(self)

    def on_error(self, error: Exception) -> None:
        if not isinstance(error, PenstockError):
            error = InternalError(internal_message(error))
        self._call.fail(self, error)


class StreamCall:
    """The requests of one call, and what is to be written to it.

    Where ``is_strict``, as the metadata ``triton_grpc_error`` asks, the first error ends the call with its status;
    else it is the answer to its request.
    """

    def __init__(
        self,
        context: Context,
        *,
        desk: Desk,
        parse: Callable[[bytes], Any],
        arrive: Callable[[StreamedRequest], Arrival],
        caller: str,
        headers: Headers | None = None,
        is_strict: bool,
        pending_bytes: PendingBytes,
    ) -> None:
        self._context = context
        self._desk = desk
        self._parse = parse
        self._arrive = arrive
        self._caller = caller
        self._headers = headers
        self._is_strict = is_strict
        self._pending_bytes = pending_bytes
        self._open: set[StreamedRequest] = set()
        self._turns: deque[StreamedRequest] = deque()
        self._outbox: deque[tuple[StreamedRequest, bytes]] = deque()
        self._unread_bytes = 0
        self._error: PenstockError | None = None
        """What ends the call at once."""
        self._is_complete = False
        """Whether no more requests are taken."""
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()

    async def run(self, messages: AsyncIterator[bytes]) -> None:
        """Serve until the caller has sent its last request and got all responses, or :meth:`drain`.

        Raises:
            PenstockError: the call is to end with this error.
        """
        reading = asyncio.create_task(self._read(messages), name="requests of a stream")
        reading.add_done_callback(self._end)
        try:
            while not (self._is_complete and not self._open and not self._outbox):
                await self._news.wait()
                self._news.clear()
                await self._write()
                if self._error is not None:
                    raise self._error
            if not reading.done():
                raise shutting_down()
            reading.result()
        finally:
            reading.cancel()
            self._leave()

    def _end(self, reading: asyncio.Task[None]) -> None:
        if not reading.cancelled():
            reading.exception()  # it is raised in `run`, unless that has ended
        self.drain()

    def drain(self) -> None:
        """Take no more requests; the call ends with those that are open."""
        self._is_complete = True
        self._news.set()

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        async for message in messages:
            if self._is_complete:
                raise shutting_down()
            self._take(message)
            self._look()
            await self._room.wait()

    def _take(self, message: bytes) -> None:
        one = StreamedRequest(self)
        arrival = self._arrive(one)
        self._open.add(one)
        self._turns.append(one)
        try:
            try:
                request = self._parse(message)
                one.request_id, one.model, one.version = request.id, request.model_name, request.model_version
                one.wants_end = wants_final_response(request.parameters)
            except PenstockError as error:
                self._desk.refuse(arrival, error, None, model=one.model, version=one.version, request_id=one.request_id)
                raise
            one.ticket = self._desk.admit(
                message,
                lambda _: request,
                arrival,
                caller=self._caller,
                time_left_s=self._context.time_remaining(),
                outcome=one,
                headers=self._headers,
            )
        except Exception as error:  # noqa: BLE001 - one request must not take the others along
            one.set_exception(error)
            return
        served = one.ticket.lane.version
        one.version = served.version
        if served.is_decoupled:
            self._turns.remove(one)
            one.is_in_turn = False

    def say(self, one: StreamedRequest, message: bytes) -> None:
        """Write a message of a request as soon as its caller takes it, and it is its turn."""
        self._unread_bytes += len(message)
        self._pending_bytes.held += len(message)
        if one.is_in_turn:
            one.held.append(message)
        else:
            self._outbox.append((one, message))
            self._news.set()

    def fail(self, one: StreamedRequest, error: PenstockError) -> None:
        """End a request with an error."""
        if self._is_strict:
            self._error = self._error or error
        else:
            self.say(one, error_message(error, request_id=one.request_id, model=one.model, version=one.version))
        self.close(one)

    def close(self, one: StreamedRequest) -> None:
        """End a request, of which everything was said."""
        self._open.discard(one)
        one.ticket = None  # it leads back: nothing is to be left to the garbage collector
        while self._turns and self._turns[0].done():
            ended = self._turns.popleft()
            self._outbox.extend((ended, message) for message in ended.held)
        self._news.set()
        self._look()

    def _look(self) -> None:
        """Let the caller send more, or not."""
        if len(self._open) < _MOST_OPEN and self._unread_bytes < _MOST_UNREAD_BYTES:
            self._room.set()
        else:
            self._room.clear()

    async def _write(self) -> None:
        while self._outbox:
            one, message = self._outbox[0]
            await self._context.write(message)
            self._outbox.popleft()
            self._unread_bytes -= len(message)
            self._pending_bytes.held -= len(message)
            one.note_taken(len(message))
            self._look()

    def _leave(self) -> None:
        """Whatever is still open has nobody who waits for it."""
        self._pending_bytes.held -= self._unread_bytes
        self._unread_bytes = 0
        for one in self._open:
            one.leave()
            if one.ticket is not None:
                self._desk.withdraw(one.ticket)
                one.ticket = None
