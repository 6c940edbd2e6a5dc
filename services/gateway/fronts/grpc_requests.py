"""The messages of a call out of its body: one, whole or in pieces, or a stream of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from services.gateway.fronts import grpc_wire as wire

if TYPE_CHECKING:
    from services.gateway.fronts.grpc_route import Route


class Draft(Protocol):
    """A message in the making."""

    def add(self, part: bytes | memoryview) -> None: ...

    def message(self) -> memoryview: ...


Reserve = Callable[[int], Draft | None]
"""Makes room for a message of so many bytes, if it is worth that."""


def nowhere(_size: int) -> None:
    """Reserve nothing."""


def whole_message(body: bytes | memoryview, encoding: str, limit: int) -> bytes:
    """The message of a whole body that may be compressed, or none.

    Raises:
        StatusError: it is none, or larger than ``limit``.
    """
    if len(body) < wire.PREFIX_BYTES:
        raise wire.StatusError(grpc.StatusCode.INTERNAL, f"got {len(body)} bytes, expected one message")
    length, got = wire.check_length(body, limit), len(body) - wire.PREFIX_BYTES
    if length != got:
        raise wire.StatusError(grpc.StatusCode.INTERNAL, f"got {got} bytes, expected one message of {length}")
    return wire.unpack(body[0], bytes(body[wire.PREFIX_BYTES :]), encoding, limit)


class Pieces:
    """A body of one message that comes in pieces; what is too large is refused after its first ones.

    A large one goes where ``reserve`` finds room for it, once a quarter of it has come: who only announces it takes
    nothing.
    """

    def __init__(self, limit: int, reserve: Reserve) -> None:
        self._limit = limit
        self._reserve: Reserve | None = reserve
        self._draft: Draft | None = None
        self._parts: list[bytes | memoryview] = []
        self.size = 0
        """Bytes that have come."""
        self._length = 0

    def add(self, data: bytes | memoryview) -> None:
        """Raises StatusError when the message is or will be larger than the limit, or than it says."""
        before, self.size = self.size, self.size + len(data)
        if self._draft is not None:
            if self.size > self._length + wire.PREFIX_BYTES:
                raise self._misfit()
            self._draft.add(data)
            return
        self._parts.append(data)
        if before < wire.PREFIX_BYTES <= self.size:
            self._length = wire.check_length(b"".join(self._parts)[: wire.PREFIX_BYTES], self._limit)
        if self.size > self._limit + wire.PREFIX_BYTES:
            raise wire.too_large(self.size - wire.PREFIX_BYTES, self._limit)
        if self._reserve is not None and self.size >= wire.PREFIX_BYTES and 4 * self.size >= self._length:
            self._begin(self._reserve)

    def _begin(self, reserve: Reserve) -> None:
        """Go on in what was reserved, if there is something."""
        first, self._reserve = self._parts[0], None
        if len(first) < wire.PREFIX_BYTES or first[0] or self.size > self._length + wire.PREFIX_BYTES:
            return
        self._draft = reserve(self._length)
        if self._draft is not None:
            for part in (memoryview(first)[wire.PREFIX_BYTES :], *self._parts[1:]):
                self._draft.add(part)
            self._parts.clear()

    def message(self, encoding: str) -> bytes | memoryview:
        """All pieces as the message that they are, with one copy unless it is compressed.

        Raises:
            StatusError: they are none.
        """
        if self._draft is not None:
            if self.size != self._length + wire.PREFIX_BYTES:
                raise self._misfit()
            return self._draft.message()
        parts, first = self._parts, self._parts[0]
        if len(first) < wire.PREFIX_BYTES or first[0]:
            return whole_message(b"".join(parts), encoding, self._limit)
        if self.size != self._length + wire.PREFIX_BYTES:
            raise self._misfit()
        return b"".join([memoryview(first)[wire.PREFIX_BYTES :], *parts[1:]])

    def _misfit(self) -> wire.StatusError:
        got = self.size - wire.PREFIX_BYTES
        return wire.StatusError(grpc.StatusCode.INTERNAL, f"got {got} bytes, expected one message of {self._length}")


class RequestStream:
    """Messages that come one after the other: heard at once, or kept until they are asked for."""

    def __init__(self, route: Route, *, limit: int, is_last: bool) -> None:
        self._route = route
        self._limit = limit
        self._is_read = is_last
        self._buffer = bytearray()
        self._messages: deque[bytes] = deque()
        self._deferred = 0
        self._reading: asyncio.Future[None] | None = None
        self._listener: Callable[[Any], None] | None = None

    def take(self, data: bytes | memoryview, *, is_last: bool) -> int:
        """Take a piece of the body; how many bytes are done with, :meth:`settle` says when the others are.

        Raises:
            StatusError: it can't be read; nothing more is to be taken.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= wire.PREFIX_BYTES:
            end = wire.PREFIX_BYTES + wire.check_length(buffer, self._limit)
            if len(buffer) < end:
                break
            flag, payload = buffer[0], bytes(memoryview(buffer)[wire.PREFIX_BYTES : end])
            del buffer[:end]
            message = payload if flag == 0 else wire.unpack(flag, payload, self._route.encoding, self._limit)
            if self._listener is None:
                self._messages.append(message)
            else:
                self._tell(self._listener, message)
        if is_last and buffer:
            raise wire.StatusError(grpc.StatusCode.INTERNAL, f"the stream ends within a message: {len(buffer)}")
        self._is_read = is_last
        if (is_last or self._messages) and self._reading is not None and not self._reading.done():
            self._reading.set_result(None)
        if self._messages:
            self._deferred += len(data)
            return 0
        return len(data)

    def _tell(self, listener: Callable[[Any], None], message: bytes) -> None:
        try:
            listener(message if self._route.deserialize is None else self._route.deserialize(message))
        except Exception as error:  # noqa: BLE001 - it is raised in the servicer
            self._listener = None
            if self._reading is not None and not self._reading.done():
                self._reading.set_exception(error)

    @property
    def is_any_waiting(self) -> bool:
        return bool(self._messages)

    async def listen(self, take: Callable[[Any], None]) -> None:
        """Call ``take`` with every message from now on, until the last; what it raises is raised here."""
        self._listener = take
        if not self._is_read:
            self._reading = asyncio.get_running_loop().create_future()
            await self._reading

    async def next(self) -> bytes | None:
        """The next message; None: there are no more."""
        while not self._messages:
            if self._is_read:
                return None
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._reading)
            self._reading = None
        return self._messages.popleft()

    def settle(self) -> int:
        """How many bytes are done with that were not when they came."""
        if self._messages:
            return 0
        size, self._deferred = self._deferred, 0
        return size
