"""Calls that only the registry that writes can answer, passed on to it by the others."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NoReturn, Protocol

import grpc

from services.common import serving
from services.common.errors import UnavailableError
from services.registry.adapters.database import NOT_WRITER
from services.registry.adapters.identification import FORWARDED, caller_of, metadata_of
from services.registry.adapters.upload_streams import UploadStreams

_READS = {
    "GetModel",
    "ListModels",
    "GetModelVersion",
    "ListModelVersions",
    "ListAliases",
    "GetDeployment",
    "ListDeployments",
    "ListSigningKeys",
    "ListAuditEntries",
    "GetRollout",
    "ListRollouts",
    "WatchResources",
}

Method = Callable[[Any, Any], Any]
Stub = Callable[[grpc.aio.Channel], Any]
"""Makes a generated stub."""


class Lease(Protocol):
    """Who writes."""

    @property
    def is_writer(self) -> bool: ...

    @property
    def writer(self) -> str: ...


class Forwarder:
    """Passes calls on unless this registry writes."""

    def __init__(self, lease: Lease, streams: UploadStreams, *, can_send: Callable[[str], Awaitable[bool]]) -> None:
        """``can_send`` says whether content, given by its digest, can be read from here."""
        self._lease = lease
        self._can_send = can_send
        self._streams = streams
        self._channels: dict[str, grpc.aio.Channel] = {}

    def wrap(self, servicer: Any, *, stub: Stub) -> Any:
        """The servicer, with each rpc that writes, or asks for what only the writer knows, passed on where need be.

        ``stub`` is that of its service.
        """
        for name, method in inspect.getmembers(servicer, inspect.ismethod):
            if name[0].isupper() and name not in _READS:
                wrap = self._streaming if inspect.isasyncgenfunction(method) else self._single
                setattr(servicer, name, wrap(name, method, stub))
        return servicer

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    def _single(self, name: str, method: Method, stub: Stub) -> Method:
        @functools.wraps(method)
        async def call(request: Any, context: Any) -> Any:
            if self._lease.is_writer:
                try:
                    return await method(request, context)
                except UnavailableError as error:
                    # Another took over, and nothing was written. What was read of a stream can't be sent again.
                    if error.reason != NOT_WRITER or hasattr(request, "__aiter__"):
                        raise
            rpc, options = self._rpc(stub, name, context)
            try:
                return await rpc(request, **options)
            except grpc.aio.AioRpcError as error:
                if hasattr(request, "__aiter__"):
                    await self._streams.drain_refused(request)
                await _pass_on(error, context)

        return call

    def _streaming(self, name: str, method: Method, stub: Stub) -> Method:
        @functools.wraps(method)
        async def call(request: Any, context: Any) -> AsyncGenerator[Any]:
            if self._lease.is_writer or await self._can_send(request.sha256):
                async for message in method(request, context):
                    yield message
                return
            rpc, options = self._rpc(stub, name, context)
            try:
                async for message in rpc(request, **options):
                    yield message
            except grpc.aio.AioRpcError as error:
                await _pass_on(error, context)

        return call

    def _rpc(self, stub: Stub, name: str, context: Any) -> tuple[Any, dict[str, Any]]:
        """The writer's rpc, and the options to call it with.

        Raises:
            UnavailableError: there is no writer to call.
        """
        writer = self._lease.writer
        if self._lease.is_writer or not writer or FORWARDED in dict(context.invocation_metadata()):
            raise UnavailableError("no registry writes just now, try again")
        if writer not in self._channels:
            self._channels[writer] = grpc.aio.insecure_channel(writer, options=serving.CHANNEL_OPTIONS)
        rpc = getattr(stub(self._channels[writer]), name)
        return rpc, {
            "timeout": context.time_remaining(),
            "metadata": [(FORWARDED, "1"), *metadata_of(caller_of(context))],
        }


async def _pass_on(error: grpc.aio.AioRpcError, context: Any) -> NoReturn:
    trailers = tuple(error.trailing_metadata())
    if error.code() is grpc.StatusCode.UNAVAILABLE and not trailers:
        # Not its answer: it is gone. Ours, so that nobody takes this registry for the one that doesn't answer.
        raise UnavailableError("the registry that writes does not answer just now, try again") from error
    await context.abort(error.code(), error.details() or "", trailers)
    raise AssertionError("unreachable: abort raises")
