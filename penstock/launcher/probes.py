"""Whether a part of the suite is ready, asked as its clients would."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc

_ANSWER_WITHIN_S = 2.0


async def serves_grpc(address: str) -> bool:
    """Whether ``grpc.health.v1`` says SERVING there."""
    async with grpc.aio.insecure_channel(address) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return bool(await check(b"", timeout=_ANSWER_WITHIN_S) == b"\x08\x01")  # status=SERVING
        except grpc.aio.AioRpcError:
            return False


async def serves_https(address: str, *, wants_certificate: bool) -> bool:
    """Whether ``/v2/health/ready`` is answered with 200; whose certificate is shown is for clients to judge.

    A server that ``wants_certificate`` answers its own clients only: that it speaks TLS with us must do.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
            try:
                if wants_certificate:
                    return True
                writer.write(b"GET /v2/health/ready HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host.encode())
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.transport.abort()
    except ssl.SSLError:
        return wants_certificate
    except (TimeoutError, OSError):
        return False


async def answers_ping(path: Path) -> bool:
    """Whether a Redis listens on a unix socket."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        async with asyncio.timeout(1):
            return await reader.readline() == b"+PONG\r\n"
    except (TimeoutError, OSError):
        return False
    finally:
        writer.close()
