"""One gRPC call on an HTTP/2 stream, from its head to the end of its servicer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc

from services.common.errors import UnavailableError
from services.common.http2 import Connection, Headers, encode
from services.gateway.fronts import grpc_wire as wire
from services.gateway.fronts.grpc_answer import Answer
from services.gateway.fronts.grpc_requests import Pieces, RequestStream, nowhere, whole_message

if TYPE_CHECKING:
    from services.gateway.fronts.grpc_route import Route
    from services.gateway.fronts.grpc_server import GrpcServer

_log = logging.getLogger(__name__)


class Call(Answer):
    """Reads messages, and runs the servicer in a task of its own, or a direct handler without one.

    A deadline that passes and a caller that leaves cancel that task at once.
    """

    __slots__ = ("_leave", "_pieces", "_requests", "_server", "task")

    def __init__(self, server: GrpcServer, connection: Connection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self._server = server
        self._pieces: Pieces | None = None
        self._requests: RequestStream
        self._code = None
        self._details = ""
        self._trailing = ()
        self._callbacks = None
        self._leave: Callable[[], None] | None = None
        self._is_started = self.is_done = False
        self.task: asyncio.Task[None] | None = None
        self.deadline = None
        self.ended = None

    # What the connection says

    def on_headers(self, headers: Headers, *, is_last: bool) -> None:
        route: Route = headers.memo or self._server.router.route(headers)
        self._route = route
        if route.http_status:
            self.send_headers(encode([(b":status", b"%d" % route.http_status)]), is_last=True)
            return
        if route.fault is not None:
            self.fail(route.fault.code, route.fault.details)
            return
        if route.timeout_s is not None:
            self.deadline = self.connection.loop.time() + route.timeout_s
            self._server.deadlines.add(self, self.deadline)
        if route.is_request_streaming:
            self._requests = RequestStream(route, limit=self._server.limit, is_last=is_last)
            self._start(self._serve(self._each_request()))
        elif is_last:
            self._take_whole(b"")

    def on_data(self, data: bytes | memoryview, *, is_last: bool) -> int:
        if self.is_done or self.ended is not None:
            return len(data)
        if self._route.is_request_streaming:
            try:
                return self._requests.take(data, is_last=is_last)
            except wire.StatusError as error:
                self.end(error.code, error.details)
        elif is_last and self._pieces is None:
            self._take_whole(data)
        else:
            self._gather(data, is_last=is_last)
        return len(data)

    def on_trailers(self, headers: Headers) -> None:  # noqa: ARG002 - gRPC has none from clients
        self.on_data(b"", is_last=True)

    def on_closed(self, code: int, text: str) -> None:  # noqa: ARG002 - all codes mean the same here
        self.end(grpc.StatusCode.CANCELLED, text)

    # A unary request

    def _take_whole(self, body: bytes | memoryview) -> None:
        length = len(body) - wire.PREFIX_BYTES
        if length < 0 or body[0] or length > self._server.limit or int.from_bytes(body[1:5], "big") != length:
            try:
                message = whole_message(body, self._route.encoding, self._server.limit)
            except wire.StatusError as error:
                self.fail(error.code, error.details)
                return
        else:
            message = bytes(body[wire.PREFIX_BYTES :])
        self._take_message(message)

    def _take_message(self, message: bytes | memoryview) -> None:
        if self._route.direct is not None:
            try:
                self._leave = self._route.direct(message, self)
            except Exception as error:  # noqa: BLE001 - a bug ends the call, not the connection
                self._fail(error)
        elif self._route.is_response_streaming:
            self._start(self._serve(message))
        else:
            self._start(self._serve_unary(message))

    def _gather(self, data: bytes | memoryview, *, is_last: bool) -> None:
        if self._pieces is None:
            reserve = nowhere if self._route.direct is None else self._server.reserve
            self._pieces = Pieces(self._server.limit, reserve)
        pending = self._server.pending_bytes
        try:
            pending.check(len(data), mine=self._pieces.size)
            pending.held += len(data)
            self._pieces.add(data)
            if not is_last:
                return
            message = self._pieces.message(self._route.encoding)
        except wire.StatusError as error:
            self.fail(error.code, error.details)
            return
        except UnavailableError as error:
            pending.refused += 1
            self.set_exception(error)
            return
        self._drop_pieces(self._pieces)
        self._take_message(message)

    def _drop_pieces(self, pieces: Pieces) -> None:
        self._server.pending_bytes.held -= pieces.size
        self._pieces = None

    # Requests

    async def read(self) -> Any:
        message = await self._next()
        return grpc.aio.EOF if message is None else await self._parsed(message)

    async def listen(self, take: Callable[[Any], None]) -> None:
        """Call ``take`` with every message as it comes off the socket; returns when the caller has sent the last one.

        What ``take`` raises is raised here, and so is what a message raises that can't be read.
        """
        while self._requests.is_any_waiting:
            take(await self.read())
        await self._requests.listen(take)

    async def _next(self) -> bytes | None:
        message = await self._requests.next()
        if size := self._requests.settle():
            self.consumed(size)
        return message

    async def _each_request(self) -> AsyncIterator[Any]:
        while (message := await self._next()) is not None:
            yield await self._parsed(message)

    async def _parsed(self, message: bytes | memoryview) -> Any:
        if self._route.deserialize is None:
            return message
        try:
            return self._route.deserialize(message)
        except Exception as error:  # noqa: BLE001 - whatever a deserialiser raises, the message was bad
            _log.info("a request could not be read: %s", error)
        if not self._route.is_request_streaming:
            raise wire.StatusError(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        self.end(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        await asyncio.sleep(0)  # a servicer is to see its cancellation, not an error of ours
        raise asyncio.CancelledError

    # Running the servicer

    def _start(self, serving: Any) -> None:
        self.task = asyncio.Task(serving, loop=self.connection.loop, name="call")

    async def _serve_unary(self, message: bytes | memoryview) -> None:
        route = self._route
        try:
            request = message if route.deserialize is None else await self._parsed(message)
            response = await route.behavior(request, self)
            body = response if route.serialize is None else route.serialize(response)
        except BaseException as error:  # noqa: BLE001 - the last boundary: servicers have their own
            self._fail(error)
        else:
            self.set_result(body)

    async def _serve(self, request: Any) -> None:
        """Send what a servicer yields; one that writes to its context is only waited for."""
        route = self._route
        try:
            if not route.is_request_streaming:
                request = await self._parsed(request)
            answers = route.behavior(request, self)
            if not route.is_response_streaming:
                self.set_result(self._serialized(await answers))
                return
            if hasattr(answers, "__aiter__"):
                async with contextlib.aclosing(answers):
                    async for answer in answers:
                        await self.write(answer)
            else:
                await answers
        except BaseException as error:  # noqa: BLE001 - the last boundary: servicers have their own
            self._fail(error)
        else:
            self._finish()

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            if self.ended is None:
                self.fail(grpc.StatusCode.CANCELLED, "the servicer was cancelled")
                raise error
            self.fail(self.ended.code, self.ended.details)
        elif isinstance(error, wire.StatusError):
            self.fail(error.code, error.details)
        elif isinstance(error, grpc.aio.AbortError):
            self._finish()
        elif isinstance(error, Exception):
            _log.error("unexpected error in a servicer", exc_info=error)
            self.fail(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")
        else:
            raise error

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Cancel the servicer; then the call ends with this status, if somebody is there to hear it."""
        if self.ended is None and not self.is_done:
            self.ended = wire.StatusError(code, details)
            if self.task is None:
                leave = self._leave
                self.fail(code, details)
                if leave is not None:
                    leave()
            else:
                self._server.keep(self.task)
                self.task.add_done_callback(self._conclude)
                self.task.cancel()

    def _conclude(self, _task: asyncio.Task[None]) -> None:
        """A task that was cancelled before its first step has answered nobody."""
        if self.ended is not None:
            self.fail(self.ended.code, self.ended.details)

    def _end(self) -> None:
        self._leave = None  # it may know this call: nothing is to be left to the garbage collector
        if self._pieces is not None:
            self._drop_pieces(self._pieces)
        if self.deadline is not None:
            self._server.deadlines.remove(self, self.deadline)
        super()._end()
