"""Connections that this side opens."""

from __future__ import annotations

import asyncio
import ssl

from services.common.http2.connection import Connection
from services.common.http2.limits import Limits


async def connect(
    host: str, port: int, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> Connection:
    """Connect, and wait for the server's settings. Streams are begun with ``Connection.next_id`` and ``open``.

    Raises:
        OSError: nobody listens there, or the connection was lost before it was one.
    """
    wanted = limits or Limits()
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(lambda: Connection(limits=wanted), host, port, ssl=tls)
    try:
        await connection.ready()
    except BaseException:
        transport.abort()
        raise
    return connection
