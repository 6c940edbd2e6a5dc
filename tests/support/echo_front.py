"""A front with an echo behind.

``python -m tests.support.echo_front native|grpcio GRPC_PORT HTTP_PORT [CERTIFICATE KEY [CLIENT_CA]]``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.common import serving
from services.gateway.fronts import FrontOptions
from services.gateway.fronts.front import Front
from services.gateway.fronts.grpcio import GrpcioFront
from services.gateway.fronts.native import NativeFront
from services.gateway.fronts.tls import Tls

LIMIT = 32 * 1024 * 1024
SERVICE = "test.Echo"


class Echo:
    """Bytes in, bytes out; ``left`` counts the callers that went before their answer."""

    def __init__(self) -> None:
        self.left = 0

    async def Unary(self, request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("size", str(len(request))), ("size-bin", len(request).to_bytes(8, "big"))))
        return request

    async def Split(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for at in range(len(request)):
            yield request[at : at + 1]

    async def Endless(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield request
        except (asyncio.CancelledError, GeneratorExit, OSError):
            self.left += 1
            raise

    async def Join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def Both(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def Metadata(self, request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("early", "bird"),))
        return repr(sorted(dict(context.invocation_metadata()).items())).encode()

    async def Remaining(self, request: bytes, context: Any) -> bytes:
        return repr(context.time_remaining()).encode()

    async def Peer(self, request: bytes, context: Any) -> bytes:
        return context.peer().encode()

    async def Identity(self, request: bytes, context: Any) -> bytes:
        return b",".join(context.peer_identities() or [b"nobody"])

    async def Wait(self, request: bytes, context: Any) -> bytes:
        try:
            return await asyncio.Event().wait() and b""
        except asyncio.CancelledError:
            self.left += 1
            raise

    async def Left(self, request: bytes, context: Any) -> bytes:
        return str(self.left).encode()

    async def Abort(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode(), (("why", "because"),))

    async def AbortLate(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        await context.abort(grpc.StatusCode.DATA_LOSS, "half way")

    async def Rich(self, request: bytes, context: Any) -> bytes:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason="TESTED", domain="test"))
        await context.abort_with_status(
            rpc_status.to_status(status_pb2.Status(code=5, message=request.decode(), details=[detail]))
        )

    async def Crash(self, request: bytes, context: Any) -> bytes:
        raise LookupError("a bug")

    async def Unsendable(self, request: bytes, context: Any) -> bytes:
        if request == b"abort":
            await context.abort(grpc.StatusCode.ABORTED, "with a bug", (("key", "ü"),))
        context.set_trailing_metadata((("key", "ü"),))
        return request

    def add_to(self, server: grpc.aio.Server) -> None:
        kinds = {
            grpc.unary_stream_rpc_method_handler: ("Split", "Endless", "AbortLate"),
            grpc.stream_unary_rpc_method_handler: ("Join",),
            grpc.stream_stream_rpc_method_handler: ("Both",),
            grpc.unary_unary_rpc_method_handler: (
                "Unary", "Metadata", "Remaining", "Peer", "Identity", "Wait", "Left", "Abort", "Rich", "Crash",
                "Unsendable",
            ),
        }  # fmt: skip
        handlers = {name: kind(getattr(self, name)) for kind, names in kinds.items() for name in names}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def echo(self, request: Request) -> Response:
        return Response(await request.body(), headers={"method": request.method})

    async def wait(self, request: Request) -> Response:
        await request.body()
        event = await request.receive()
        assert event["type"] == "http.disconnect"
        self.left += 1
        return Response()

    def rest(self) -> Starlette:
        return Starlette(
            routes=[Route("/echo", self.echo, methods=["GET", "POST"]), Route("/wait", self.wait, methods=["POST"])]
        )


async def serve(stop: asyncio.Event, front: Front) -> None:
    echo = Echo()
    echo.add_to(front.server)
    health = serving.Health(SERVICE)
    await health.attach(front.server)
    await health.set_serving(is_serving=True)
    front.open(echo.rest())
    async with asyncio.TaskGroup() as group:
        group.create_task(front.run_until_stopped())
        await stop.wait()
        await front.stop(2)


def main() -> None:
    kind, grpc_port, http_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    tls = Tls(*[Path(path) for path in sys.argv[4:7]]) if len(sys.argv) > 4 else None
    options = FrontOptions("127.0.0.1", grpc_port, http_port, max_request_bytes=LIMIT, drain_timeout_s=2, tls=tls)

    async def run(stop: asyncio.Event) -> None:
        await serve(stop, NativeFront(options) if kind == "native" else GrpcioFront(options))

    serving.run(run)


if __name__ == "__main__":
    main()
