"""An HTTP/2 connection (RFC 9113) as an asyncio protocol, in either role; it knows nothing of what it carries.

Frames are taken from each read as they come; what there is to say goes out with one write per turn of the event loop.
Nothing that a peer does makes it grow without bound: see :class:`Limits`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from services.common.http2 import control, frames
from services.common.http2.frame_reader import FrameReader
from services.common.http2.frames import DEFAULT_WINDOW, LARGEST_WINDOW, PING, PREFACE, ErrorCode, FaultError, Setting
from services.common.http2.limits import Limits
from services.common.http2.multiplexer import Multiplexer
from services.common.http2.stream import Stream
from services.common.http2.vigil import Vigil

_log = logging.getLogger(__name__)

_FAREWELL = b"farewell"
_FAREWELL_S = 1.0
"""How long the peer may take to hear that it shall begin nothing more."""


class Connection(Multiplexer):
    """One connection. A server gives ``accept``, which makes a :class:`Stream` of a request; a client opens its own.

    Streams belong to the connection until both sides have ended them. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        accept: Callable[[Connection, int], Stream] | None = None,
        on_made: Callable[[Connection], None] | None = None,
        on_lost: Callable[[Connection], None] | None = None,
    ) -> None:
        super().__init__(limits, accept)
        self.closed: asyncio.Future[None] = self.loop.create_future()
        """Done when the connection is lost."""
        self.memo: Any = None
        """What whoever serves the connection found out about the peer and wants to keep."""
        self.vigil = Vigil(self)
        self._on_made = on_made
        self._on_lost = on_lost
        self._reader = FrameReader(self, expects_preface=not self.is_client)
        self._greeted: asyncio.Future[None] = self.loop.create_future()
        self._farewell: asyncio.TimerHandle | None = None

    # The beginning

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        limits = self.limits
        values = {
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
            Setting.MAX_FRAME_SIZE: limits.max_frame,
            Setting.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
        }
        if self.is_client:
            values[Setting.ENABLE_PUSH] = 0
        else:
            values[Setting.MAX_CONCURRENT_STREAMS] = limits.max_streams
        hello = frames.settings(values)
        if limits.connection_window > DEFAULT_WINDOW:
            hello += frames.window_update(0, limits.connection_window - DEFAULT_WINDOW)
        self.write(PREFACE + hello if self.is_client else hello)
        self.vigil.expect_settings()
        if self._on_made is not None:
            self._on_made(self)

    def greet(self) -> None:
        """The peer has sent its settings; once is enough."""
        if self._greeted.done():
            self.patience.tire()
        else:
            self._greeted.set_result(None)
            self.vigil.keep_alive()

    async def ready(self) -> None:
        """Wait for the peer's settings.

        Raises:
            ConnectionError: the connection was lost before.
        """
        await asyncio.shield(self._greeted)

    # Reading

    def data_received(self, data: bytes) -> None:
        self.vigil.is_heard = True
        if self.fault is not None:
            return
        try:
            self._reader.feed(data)
        except FaultError as fault:
            self.fail(fault.code, str(fault))
        except Exception:  # noqa: BLE001 - a bug behind one connection must not reach the others
            _log.exception("unexpected error in an HTTP/2 connection")
            self.fail(ErrorCode.INTERNAL_ERROR, "internal error")

    def take_control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        control.take(self, kind, flags, stream_id, payload)

    def eof_received(self) -> bool:
        return False

    # The end

    def fail(self, code: int, text: str) -> None:
        """End the connection at once because of the peer, and say why."""
        if self.is_lost or self.fault is not None:
            return
        _log.info("an HTTP/2 connection ends: %s", text)
        self.fault = (code, text)
        self.is_closing = True
        self.write(frames.goaway(self._last_stream, code, text))
        self._flush()
        self.drop(list(self.streams.values()), code, text)
        self.close()

    def go_away(self) -> None:
        """Tell the peer to begin no new streams; when it knows, close as soon as those that it has begun are finished.

        What it had sent by then is served, so that nobody has to try again.
        """
        if self.is_lost or self.is_closing or self._farewell is not None:
            return
        self.write(frames.goaway(LARGEST_WINDOW, ErrorCode.NO_ERROR) + frames.frame(PING, 0, 0, _FAREWELL))
        self._farewell = self.loop.call_later(_FAREWELL_S, self._take_no_more)

    def take_answer(self, payload: bytes) -> None:
        """The peer has heard a PING, and all that was said before it."""
        if payload == _FAREWELL and self._farewell is not None:
            self._take_no_more()
        else:
            self.vigil.take_answer(payload)

    def _take_no_more(self) -> None:
        if self.is_closing:
            return
        self.is_closing = True
        self.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
        self.close_if_done()

    def close(self) -> None:
        """Close when what was written has left, or when the peer has had time enough to read it."""
        super().close()
        self.vigil.expect_end()

    def lose(self, text: str) -> None:
        """Give up on a peer that is gone."""
        self.fault = ErrorCode.CANCEL, text
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = self.is_closing = True
        self.vigil.stop()
        if self._farewell is not None:
            self._farewell.cancel()
        code, text = self.fault or (ErrorCode.CANCEL, f"the connection is lost: {error or 'closed by the peer'}")
        self.drop(list(self.streams.values()), code, text)
        if not self._greeted.done():
            self._greeted.set_exception(ConnectionError(text))
            self._greeted.exception()  # somebody may wait for it, or nobody
        if not self.closed.done():
            self.closed.set_result(None)
        if self._on_lost is not None:
            self._on_lost(self)
        del self._reader, self.vigil  # they know this connection: nothing is to be left to the garbage collector
