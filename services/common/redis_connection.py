"""How services connect to Redis."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(url: str, *, max_connections: int = 16) -> Redis:
    """A client for ``redis://``, ``rediss://`` or ``unix://``; answers are bytes.

    Commands are not retried here: whoever sends one knows whether it may be sent twice.
    """
    return Redis.from_url(
        url,
        max_connections=max_connections,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
