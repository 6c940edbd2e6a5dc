"""The streams that clients upload by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from penstock.registry.v1.registry_service_pb2 import UploadArtifactRequest
from services.common.errors import InvalidArgumentError, PenstockError, UnavailableError

Requests = AsyncIterator[UploadArtifactRequest]


class UploadStreams:
    """Reads from clients that may neither fall silent nor keep the registry from stopping.

    A vanished client must not keep its successor waiting, so a stream is ended after ``silence_s`` without a message.
    A client that was refused may go on sending for ``drain_s`` before it is cut off.
    """

    def __init__(self, *, silence_s: float = 30.0, drain_s: float = 2.0) -> None:
        self._silence_s = silence_s
        self._drain_s = drain_s
        self._is_closed = False
        self._waits: set[asyncio.Timeout] = set()

    def close(self) -> None:
        """End all streams; what has arrived is kept."""
        self._is_closed = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)

    async def read_first(self, requests: Requests) -> UploadArtifactRequest:
        """The message that says what is uploaded."""
        if (first := await self._next(requests)) is None:
            raise InvalidArgumentError("got an empty stream, expected a first message with sha256 and size_bytes")
        return first

    async def read_chunks(self, first: UploadArtifactRequest, requests: Requests) -> AsyncIterator[bytes]:
        """The content in the first message and all others."""
        message: UploadArtifactRequest | None = first
        while message is not None:
            if message.chunk:
                yield message.chunk
            message = await self._next(requests)

    async def drain(self, requests: Requests) -> None:
        """Read what nobody needs: grpc.aio shows a client whose call ends while it sends INTERNAL, not the answer."""
        while await self._next(requests) is not None:
            pass

    async def drain_refused(self, requests: Requests) -> None:
        """Read what nobody needs, for a short while."""
        with suppress(TimeoutError, PenstockError):
            async with asyncio.timeout(self._drain_s):
                await self.drain(requests)

    async def _next(self, requests: Requests) -> UploadArtifactRequest | None:
        if self._is_closed:
            raise UnavailableError("the registry is stopping: call StartUpload to go on")
        try:
            async with asyncio.timeout(self._silence_s) as wait:
                self._waits.add(wait)
                try:
                    return await anext(requests, None)
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            raise UnavailableError("the stream was silent for too long: call StartUpload to go on") from None
