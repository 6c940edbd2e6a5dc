"""Whether a connection's peer is there: it has so long to begin, to say something now and then, and to leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.common.http2 import frames
from services.common.http2.frames import PING, ErrorCode

if TYPE_CHECKING:
    from services.common.http2.connection import Connection

_PING_DATA = b"penstock"


class Vigil:
    """One timer for the handshake, for keepalive, and for the end, as :class:`Limits` has them."""

    def __init__(self, connection: Connection) -> None:
        self.is_heard = False
        """Whether the peer said anything since this was last looked at; whoever reads sets it."""
        self._connection = connection
        self._timer: asyncio.TimerHandle | None = None

    def expect_settings(self) -> None:
        connection = self._connection
        late = ErrorCode.SETTINGS_TIMEOUT, "no settings within the time for them"
        self._timer = connection.loop.call_later(connection.limits.handshake_s, connection.fail, *late)

    def keep_alive(self) -> None:
        """Ask a peer that is silent from now on whether it is there."""
        self.stop()
        self.is_heard = False
        self._timer = self._connection.loop.call_later(self._connection.limits.keepalive_s, self._ask)

    def take_answer(self, payload: bytes) -> None:
        if payload == _PING_DATA:
            self.keep_alive()

    def _ask(self) -> None:
        if self.is_heard:
            self.keep_alive()
            return
        connection = self._connection
        connection.write(frames.frame(PING, 0, 0, _PING_DATA))
        self._timer = connection.loop.call_later(connection.limits.keepalive_timeout_s, self._judge)

    def _judge(self) -> None:
        if self.is_heard:
            self.keep_alive()
        else:
            self._connection.lose("the connection is lost: the peer answers nothing")

    def expect_end(self) -> None:
        """Give the peer time to read what was written, no more."""
        self.stop()
        connection = self._connection
        self._timer = connection.loop.call_later(connection.limits.keepalive_timeout_s, connection.abort)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
