"""What a peer may ask of a connection, and the accounting of what it asks for nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.common.http2.frames import ErrorCode, FaultError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection allows its peer, and how long it waits for it."""

    max_streams: int = 4_096
    """Streams that the peer may have open at once."""
    stream_window: int = 4 * 1024 * 1024
    """Bytes of a stream that may be under way or held unread; 65,535 at least, as peers begin with that."""
    connection_window: int = 16 * 1024 * 1024
    """The same for all streams together; 65,535 at least."""
    max_frame: int = 64 * 1024
    """Largest frame to take, in bytes."""
    max_header_bytes: int = 64 * 1024
    """Largest header block, packed and unpacked, in bytes; a block may come in one frame for each KiB of it."""
    max_queued_bytes: int = 64 * 1024 * 1024
    """With this much waiting for the peer to read it, its new streams are refused."""
    max_control_bytes: int = 256 * 1024
    """Answers to control frames that may wait for the peer to read them."""
    patience: int = 1_000
    """Frames without use, or streams that the peer resets at once, taken in one go; 100 more each second, one more for
    each stream that ends in order."""
    handshake_s: float = 10.0
    """Time for the peer to send its preface and settings."""
    keepalive_s: float = 30.0
    """After so long without a word the peer is asked for one."""
    keepalive_timeout_s: float = 10.0
    """How long it may take to answer; then the connection is lost."""


class Patience:
    """What is left of ``Limits.patience`` for one peer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self.is_tried = False
        """Whether something is used up, so that :meth:`recover` would give it back."""
        self._loop = loop
        self._most = self._left = most
        self._since = loop.time()

    def tire(self) -> None:
        """Count a frame that costs us more than it helps anybody.

        Raises:
            FaultError: they are too many; the peer is to be sent away.
        """
        self.is_tried = True
        self._left -= 1
        if self._left < 0:
            now = self._loop.time()
            self._left = min(self._most, int(100 * (now - self._since)))
            self._since = now
            if self._left <= 0:
                raise FaultError(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that do nothing")

    def recover(self) -> None:
        """Count a stream that ended in order."""
        self._left += 1
        self.is_tried = self._left < self._most
