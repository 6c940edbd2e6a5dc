"""A gRPC server as an ASGI application, for a host that speaks HTTP/2 with trailers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from services.gateway.fronts import grpc_wire as wire
from services.gateway.fronts.grpc_call import Call, Receive, Scope, Send

_log = logging.getLogger(__name__)

_SWEEP_PERIOD_S = 0.1
_LAST_WORD_S = 1.0
_CONTENT_TYPES = {b"application/grpc", b"application/grpc+", b"application/grpc;"}
_LEEWAY_S = 0.05
"""A servicer that keeps the deadline itself comes first, and ends the call in its own words."""


@dataclass(frozen=True, slots=True)
class _Details(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: Any


class AsgiServer(grpc.aio.Server):
    """Takes servicers as any grpc.aio server does, and calls from whatever hosts the application.

    Servicers must be asynchronous.
    """

    def __init__(self, *, max_request_bytes: int) -> None:
        self._limit = max_request_bytes
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._calls: set[Call] = set()
        self._is_stopping = False
        self._sweeper: asyncio.Task[None] | None = None
        self._terminated = asyncio.Event()

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self._methods.update({f"/{service_name}/{name}": handler for name, handler in method_handlers.items()})

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._generic.extend(generic_rpc_handlers)

    def add_insecure_port(self, address: str) -> int:
        raise NotImplementedError(f"the host listens, not its application: {address}")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        raise NotImplementedError(f"the host listens, not its application: {address}, {server_credentials}")

    async def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, wait ``grace`` seconds for those under way, then cancel them."""
        self._is_stopping = True
        await _wait_for(self._calls, grace or 0)
        for call in self._calls:
            call.end(grpc.StatusCode.CANCELLED, "the server is shutting down")
        await _wait_for(self._calls, _LAST_WORD_S)
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        self._terminated.set()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - grpc's own
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._terminated.wait()
        return not self._terminated.is_set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if not _is_grpc(scope):
            await _answer(send, 415 if scope["method"] == "POST" else 405)
            return
        call = Call(scope, receive, send, limit=self._limit)
        self._calls.add(call)
        try:
            await self._serve(scope["path"], call)
        except wire.StatusError as error:
            await call.fail(error.code, error.details)
        except grpc.aio.AbortError:
            await call.finish()
        except asyncio.CancelledError:
            if call.ended is None:
                raise
            call.task.uncancel()
            await call.fail(call.ended.code, call.ended.details)
        except OSError as error:
            if not call.done():  # else the caller left while it was being answered
                await _fail_unexpectedly(call, error)
        except Exception as error:  # noqa: BLE001 - the last boundary: servicers have their own
            await _fail_unexpectedly(call, error)
        finally:
            self._calls.discard(call)

    async def _serve(self, path: str, call: Call) -> None:
        call.open()
        if self._is_stopping:
            raise wire.StatusError(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        handler: Any = self._methods.get(path) or self._find(path, call)
        if handler.request_streaming:
            request: Any = _deserialized(call, handler.request_deserializer)
        else:
            request = await call.read_only()
            if handler.request_deserializer is not None:
                request = _parsed(handler.request_deserializer, request)
        serialize = handler.response_serializer
        if handler.response_streaming:
            behavior = handler.stream_stream if handler.request_streaming else handler.unary_stream
            await _stream(behavior(request, _Writing(call, serialize)), call, serialize)
            return
        behavior = handler.stream_unary if handler.request_streaming else handler.unary_unary
        response = await behavior(request, call)
        await call.finish(response if serialize is None else serialize(response))

    def _find(self, path: str, call: Call) -> grpc.RpcMethodHandler[Any, Any]:
        details = _Details(path, call.invocation_metadata())
        for generic in self._generic:
            if (handler := generic.service(details)) is not None:
                return handler
        raise wire.StatusError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    async def _sweep(self) -> None:
        """End calls whose deadline is over or whose caller left. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_PERIOD_S)
            now = time.monotonic()
            due = []
            for call in self._calls:
                if call.is_late(now, leeway_s=_LEEWAY_S):
                    call.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
                elif call.is_to_look(now):
                    due.append(call)
            await asyncio.gather(*(call.look() for call in due), return_exceptions=True)


class _Writing:
    """A call's context for a servicer that writes messages to it: they are serialised first."""

    def __init__(self, call: Call, serialize: Callable[[Any], bytes] | None) -> None:
        self._call = call
        self._serialize = serialize

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def write(self, message: Any) -> None:
        await self._call.write(message if self._serialize is None else self._serialize(message))


def _is_grpc(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value[:17]
            return scope["method"] == "POST" and kind in {
                b"application/grpc",
                b"application/grpc+",
                b"application/grpc;",
            }
    return False


async def _wait_for(calls: Iterable[Call], timeout_s: float) -> None:
    if tasks := [call.task for call in calls]:
        await asyncio.wait(tasks, timeout=timeout_s)


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _parsed(deserialize: Callable[[bytes], Any], message: bytes) -> Any:
    try:
        return deserialize(message)
    except Exception as error:  # noqa: BLE001 - whatever a deserialiser raises, the message was bad
        _log.info("a request could not be read: %s", error)
        raise wire.StatusError(grpc.StatusCode.INTERNAL, "Exception deserializing request!") from None


async def _deserialized(call: Call, deserialize: Callable[[bytes], Any] | None) -> AsyncIterator[Any]:
    try:
        async for message in call.messages():
            yield message if deserialize is None else _parsed(deserialize, message)
    except wire.StatusError as error:
        await call.break_off(error.code, error.details)


async def _stream(answers: Any, call: Call, serialize: Callable[[Any], bytes] | None) -> None:
    """Send what a servicer yields; one that writes to its context is only waited for."""
    if hasattr(answers, "__aiter__"):
        async with contextlib.aclosing(answers):
            async for answer in answers:
                await call.write(answer if serialize is None else serialize(answer))
    else:
        await answers
    await call.finish()


async def _fail_unexpectedly(call: Call, error: Exception) -> None:
    _log.error("unexpected error in a servicer", exc_info=error)
    await call.fail(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")
