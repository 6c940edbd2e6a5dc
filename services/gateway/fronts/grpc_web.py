"""gRPC-Web, for programs in browsers: unary and server-streaming calls over HTTP/1.1, on the REST port.

Each becomes an ordinary call to this gateway's own gRPC port: one hop more, and the same servicers, limits and statuses
whatever the front.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from services.common import serving
from services.gateway.callers import TENANT
from services.gateway.fronts import grpc_wire as wire
from services.gateway.fronts.grpc_requests import whole_message

_KINDS = {f"application/grpc-web{text}{proto}" for text in ("", "-text") for proto in ("", "+proto")}
_TRAILERS = 0x80
"""The flag of the last frame, which holds the status as lines of HTTP/1."""
_OF_HTTP = frozenset(
    {
        b"accept", b"accept-encoding", b"accept-language", b"cache-control", b"connection", b"cookie", b"keep-alive",
        b"origin", b"pragma", b"referer", b"te", b"transfer-encoding", b"upgrade", b"user-agent", b"x-grpc-web",
        b"x-user-agent",
    }
)  # fmt: skip
"""Headers that are the browser's talk, not the call's metadata."""


class GrpcWeb:
    """Routes for the rpcs of ``services``."""

    def __init__(self, services: Iterable[str], *, address: Callable[[], str], max_request_bytes: int) -> None:
        """``address`` gives "host:port" of the gRPC port, once that is open."""
        self.routes = [Route(f"/{service}/{{method}}", self._answer, methods=["POST"]) for service in services]
        self._address = address
        self._limit = max_request_bytes
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def _answer(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _KINDS:
            return Response(f"got content type '{kind}', expected application/grpc-web", 415, media_type="text/plain")
        is_text = "-text" in kind
        try:
            head = wire.read_head(pair for pair in request.headers.raw if pair[0] not in _OF_HTTP)
            if not any(name == TENANT for name, _ in head.metadata) and request.client:
                head.metadata += ((TENANT, request.client.host),)  # to its own port, all calls come from here
            message = await self._read(request, head.encoding, is_text=is_text)
        except wire.StatusError as error:
            return Response(_framed(_TRAILERS, _ending(error.code, error.details), is_text=is_text), media_type=kind)
        return StreamingResponse(self._frames(request.url.path, message, head, is_text=is_text), media_type=kind)

    async def _read(self, request: Request, encoding: str, *, is_text: bool) -> bytes:
        """The one message of a request.

        Raises:
            StatusError: the body is not one, or larger than the limit.
        """
        body: bytes | bytearray = bytearray()
        limit = self._limit + wire.PREFIX_BYTES
        async for chunk in request.stream():
            body += chunk
            if len(body) > (limit * 4 // 3 + 4 if is_text else limit):
                raise wire.too_large(len(body), self._limit)
        if is_text:
            try:
                body = base64.b64decode(body, validate=True)
            except binascii.Error:
                raise wire.StatusError(grpc.StatusCode.INTERNAL, "the body is no base64") from None
        return whole_message(memoryview(body), encoding, self._limit)

    async def _frames(self, method: str, message: bytes, head: wire.Head, *, is_text: bool) -> AsyncIterator[bytes]:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._address(), options=serving.CHANNEL_OPTIONS)
        # As the wire has it, a unary call is a stream of one answer.
        rpc: Any = self._channel.unary_stream(method)
        call = rpc(message, timeout=head.timeout_s, metadata=head.metadata)
        try:
            async for answer in call:
                yield _framed(0, answer, is_text=is_text)
            ending = _ending(grpc.StatusCode.OK, "", await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            ending = _ending(error.code(), error.details() or "", error.trailing_metadata())
        finally:
            call.cancel()
        yield _framed(_TRAILERS, ending, is_text=is_text)


def _framed(flag: int, payload: bytes, *, is_text: bool) -> bytes:
    frame = bytes([flag]) + len(payload).to_bytes(4, "big") + payload
    return base64.b64encode(frame) if is_text else frame


def _ending(code: grpc.StatusCode, details: str, metadata: Any = ()) -> bytes:
    return b"".join(name + b":" + value + b"\r\n" for name, value in wire.status_fields(code, details, metadata))
