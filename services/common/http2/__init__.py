"""HTTP/2 on asyncio, for servers and clients: see :mod:`services.common.http2.connection`."""

from services.common.http2.client import connect
from services.common.http2.connection import Connection
from services.common.http2.frames import ErrorCode
from services.common.http2.headers import Headers, encode
from services.common.http2.limits import Limits
from services.common.http2.stream import Stream, StreamClosedError

__all__ = ["Connection", "ErrorCode", "Headers", "Limits", "Stream", "StreamClosedError", "connect", "encode"]
