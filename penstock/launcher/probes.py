"""Whether a part of the suite is ready, asked as its clients would."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc

_ANSWER_WITHIN_S = 2.0
_READY = re.compile(rb"^penstock_gateway_ready(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
"""One sample of each gateway process."""


async def serves_grpc(address: str) -> bool:
    """Whether ``grpc.health.v1`` says SERVING there."""
    async with grpc.aio.insecure_channel(address) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return bool(await check(b"", timeout=_ANSWER_WITHIN_S) == b"\x08\x01")  # status=SERVING
        except grpc.aio.AioRpcError:
            return False


async def instance_states(address: str) -> dict[str, str] | None:
    """The state of each model process of an agent, by the name of its place; None while the agent doesn't answer."""
    from penstock.inference.v1.inference_service_pb2 import ListInstancesRequest
    from penstock.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
    from penstock.registry.v1.resources_pb2 import InstanceStatus

    found: dict[str, str] = {}
    request = ListInstancesRequest()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = InferenceServiceStub(channel)
        while True:
            try:
                page = await stub.ListInstances(request, timeout=_ANSWER_WITHIN_S)
            except grpc.aio.AioRpcError:
                return None
            for one in page.instances:
                state = InstanceStatus.State.Name(one.status.state).removeprefix("STATE_")
                found[one.status.instance] = f"{state}: {one.status.reason}" if one.status.reason else state
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


async def says_ready(address: str, *, metrics: str) -> bool:
    """Whether a gateway listens at ``address``, where TLS may keep us out, and its metrics say that it is ready."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            _, writer = await asyncio.open_connection(*_host_and_port(address))
            writer.close()
            reader, writer = await asyncio.open_connection(*_host_and_port(metrics))
            try:
                writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
                found = _READY.findall(await reader.read(-1))
            finally:
                writer.transport.abort()
    except (TimeoutError, OSError):
        return False
    return bool(found) and all(float(state) == 1 for state in found)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


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
