"""How services connect to Redis."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(url: str, *, max_connections: int = 16, protocol: int | None = None) -> Redis:
    """A client for ``redis://``, ``rediss://`` or ``unix://``; answers are bytes.

    Commands are not retried here, and wait for their answers without a limit: whoever sends one knows whether it may be
    sent twice, and how long it may block.
    """
    return Redis.from_url(
        url,
        max_connections=max_connections,
        socket_connect_timeout=1.0,
        # With redis-py's own, 5 s, blocking reads of 5 s fail now and then; and it writes through asyncio.wait_for,
        # which on Python 3.11 loses a cancellation that arrives as the write completes.
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        protocol=protocol,
    )


def checked(url: str) -> str:
    """The URL, for who connects later.

    Raises:
        ValueError: it is none of Redis.
    """
    parse_url(url)
    return url
