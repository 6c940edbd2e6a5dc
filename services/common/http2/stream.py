"""One stream of an HTTP/2 connection: what is said and heard on it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from services.common.http2 import frames
from services.common.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, ErrorCode, pack_head
from services.common.http2.headers import Headers

if TYPE_CHECKING:
    from services.common.http2.connection import Connection


class StreamClosedError(Exception):
    """The stream has ended: reset by either side, or its connection is lost."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Stream:
    """Subclass it to hear: the connection calls the ``on_…`` methods, from within its reading; they must not raise.

    Saying something never blocks. What the peer's flow control or the socket doesn't take yet is kept in order, by
    reference; who says more than one thing waits for :meth:`drain` in between, so that memory is bounded.
    """

    __slots__ = (
        "_queue", "_waiter", "born", "connection", "expected", "held", "id", "is_ending", "is_open", "is_remote_open",
        "owed", "receive_window", "send_window",
    )  # fmt: skip

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self.born = connection.loop.time()
        self.send_window = connection.peer_window
        self.receive_window = connection.limits.stream_window
        self.owed = 0
        """Received, done with, and not yet given back to the peer's window."""
        self.held = 0
        """Received and not yet done with."""
        self.expected: int | None = None
        """What content-length leaves to come."""
        self.is_open = True
        self.is_remote_open = True
        self.is_ending = False
        """Whether the last thing was said; it may still be queued."""
        self._queue: deque[bytes | memoryview] | None = None
        self._waiter: asyncio.Future[None] | None = None

    # What a subclass overrides

    def on_headers(self, headers: Headers, *, is_last: bool) -> None:
        """The head of the request or response."""

    def on_data(self, data: bytes | memoryview, *, is_last: bool) -> int:  # noqa: ARG002 - subclasses heed it
        """A piece of the body; a large one is a view of what was read from the socket.

        Return how many bytes of it are done with; say :meth:`consumed` for the others later.
        """
        return len(data)

    def on_trailers(self, headers: Headers) -> None:
        """The trailers; nothing comes after them."""

    def on_closed(self, code: int, text: str) -> None:
        """The peer reset the stream, or the connection is lost: nothing more can be said or heard."""

    # What may be said

    def send_headers(self, block: bytes, *, is_last: bool = False) -> None:
        """Send a head, or with ``is_last`` trailers or a head without a body. Nothing on a closed stream."""
        connection = self.connection
        if self.is_ending or not self.is_open:
            return
        self.is_ending = is_last
        ready = frames.headers(self.id, block, is_last=is_last, max_frame=connection.peer_max_frame)
        if self._queue or connection.is_paused:
            self._enqueue(ready)
            return
        connection.write(ready)
        if is_last:
            connection.end_local(self)

    def send_data(self, *chunks: bytes | memoryview, is_last: bool = False) -> None:
        """Send a piece of the body. Nothing on a closed stream."""
        connection = self.connection
        if self.is_ending or not self.is_open:
            return
        self.is_ending = is_last
        size = sum(map(len, chunks))
        if (
            self._queue
            or connection.is_paused
            or size > self.send_window
            or size > connection.send_window
            or size > connection.peer_max_frame
        ):
            end = [pack_head(0, 0, DATA, END_STREAM, self.id)] if is_last else []
            self._enqueue(*[memoryview(chunk) for chunk in chunks if chunk], *end)
            return
        self.send_window -= size
        connection.send_window -= size
        flags = END_STREAM if is_last else 0
        connection.write(b"".join((pack_head(size >> 8, size & 255, DATA, flags, self.id), *chunks)))
        if is_last:
            connection.end_local(self)

    def respond(self, head: bytes, prefix: bytes, body: bytes | memoryview, tail: bytes) -> None:
        """Send a whole message at once: head, body (``prefix`` and ``body`` joined) and trailers, as header blocks."""
        connection = self.connection
        size = len(prefix) + len(body)
        if (
            self._queue
            or connection.is_paused
            or size > self.send_window
            or size > connection.send_window
            or size > connection.peer_max_frame
            or not self.is_open
            or self.is_ending
        ):
            self.send_headers(head)
            self.send_data(prefix, body)
            self.send_headers(tail, is_last=True)
            return
        self.is_ending = True
        self.send_window -= size
        connection.send_window -= size
        stream_id = self.id
        connection.write(
            b"".join(
                (
                    pack_head(0, len(head), HEADERS, END_HEADERS, stream_id),
                    head,
                    pack_head(size >> 8, size & 255, DATA, 0, stream_id),
                    prefix,
                    body,
                    pack_head(0, len(tail), HEADERS, END_HEADERS | END_STREAM, stream_id),
                    tail,
                )
            )
        )
        connection.end_local(self)

    def reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """End the stream now in both directions; what is queued is dropped. ``on_closed`` is not called."""
        if self.is_open:
            self.connection.reset_stream(self, code)

    async def drain(self) -> None:
        """Wait until everything said has left.

        Raises:
            StreamClosedError: the stream was closed meanwhile or before.
        """
        while self._queue:
            self._waiter = self.connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self.is_open and not self.is_ending:
            raise StreamClosedError(ErrorCode.CANCEL, "the stream is closed")

    @property
    def is_drained(self) -> bool:
        return not self._queue

    def consumed(self, size: int) -> None:
        """Let the peer send ``size`` bytes more: those held of the body are done with."""
        if self.is_open:
            self.held -= size
            self.connection.give_back(self, size)

    # What the connection uses

    def _enqueue(self, *items: bytes | memoryview) -> None:
        connection = self.connection
        if self._queue is None:
            self._queue = deque()
        self._queue.extend(items)
        connection.queued += sum(map(len, items))
        connection.pump(self)

    def next_part(self, room: int) -> bytes | memoryview | None:
        """The next ready frame or up to ``room`` bytes of the body; None: there is nothing, or no window for it."""
        queue = self._queue
        if not queue:
            return None
        item = queue[0]
        if isinstance(item, bytes):
            return queue.popleft()
        room = min(room, self.send_window)
        if room <= 0:
            return None
        if len(item) <= room:
            return queue.popleft()
        queue[0] = item[room:]
        return item[:room]

    def wake(self) -> None:
        """Whoever waits for :meth:`drain` may go on."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> int:
        """The stream is over; how many queued bytes were dropped."""
        self.is_open = self.is_remote_open = False
        dropped = sum(map(len, self._queue)) if self._queue else 0
        self._queue = None
        self.wake()
        return dropped
