"""OTLP/HTTP intake: ``POST /v1/traces``, in protobuf or JSON, as the OTLP specification says; an ASGI application."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from penstock.otlp.v1.trace_pb2 import TraceRequest
from services.common.boundary import internal_message, retry_after_s, status_of
from services.common.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PenstockError,
    ResourceExhaustedError,
    UnimplementedError,
)
from services.monitor import otlp_json
from services.monitor.intake import RETRY_AFTER_S, Intake
from services.monitor.trace_servicer import MAX_MESSAGE_BYTES, request_of, response_to

PATH = "/v1/traces"
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_MAX_JSON_BYTES = 4 << 20
"""Of a body, before and after it is unpacked: reading JSON takes a hundred times as long, and as much more memory."""
_BODY_TIMEOUT_S = 10.0

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class HttpError(Exception):
    """An answer other than 200. OTLP lets clients repeat requests after 429, 502, 503 and 504 only."""

    def __init__(self, status: int, error: PenstockError, **headers: str) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers


class _LeftError(Exception):
    """The caller is gone."""


class TraceEndpoint:
    """Takes spans in. All bodies together take ``max_bytes`` at most; what comes beyond is sent away for a while."""

    def __init__(self, intake: Intake, *, max_bytes: int) -> None:
        self._intake = intake
        self._max_bytes = max_bytes
        self._held_bytes = 0
        # One body at a time, beside the event loop, and not behind what waits for the database.
        self._json_reader = ThreadPoolExecutor(1, "OTLP/JSON")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            message: Message = await self._answer(scope, headers, kind, receive)
            await _respond(send, 200, message, kind)
        except _LeftError:
            return
        except HttpError as error:
            await _respond(send, error.status, status_of(error.error), kind, **error.headers)
        except Exception as error:  # noqa: BLE001 - the boundary is where everything ends
            internal_message(error)
            await _respond(send, 500, status_of(error), kind)

    async def _answer(
        self, scope: MutableMapping[str, Any], headers: dict[str, str], kind: str, receive: Receive
    ) -> Message:
        if scope["path"] != PATH:
            raise HttpError(404, NotFoundError(f"got {scope['path'][:128]!r}, expected {PATH}"))
        if scope["method"] != "POST":
            raise HttpError(405, UnimplementedError(f"got {scope['method'][:16]}, expected POST"), allow="POST")
        if kind not in (_PROTOBUF, _JSON):
            expected = f"expected {_PROTOBUF} or {_JSON}"
            raise HttpError(415, InvalidArgumentError(f"got Content-Type {kind[:64]!r}, {expected}"))
        limit = _MAX_JSON_BYTES if kind == _JSON else MAX_MESSAGE_BYTES
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip"):
            raise HttpError(415, InvalidArgumentError(f"got Content-Encoding {encoding[:64]!r}, expected gzip or none"))
        held = _Held(self)
        try:
            body = await _read(receive, limit, held)
            if encoding == "gzip":
                body = _unpacked(body, limit)
                held.add(len(body))
            return response_to(self._intake.offer(await self._request(body, kind)))
        except ResourceExhaustedError as error:
            seconds = str(retry_after_s(error) or RETRY_AFTER_S)
            raise HttpError(429, error, **{"retry-after": seconds}) from None
        except InvalidArgumentError as error:
            raise HttpError(400, error) from None
        finally:
            held.give_back()

    async def _request(self, body: bytes, kind: str) -> TraceRequest:
        if kind == _JSON:
            return await asyncio.get_running_loop().run_in_executor(self._json_reader, otlp_json.request_of, body)
        return request_of(body)

    def hold(self, size: int) -> None:
        """Count bytes of bodies.

        Raises:
            ResourceExhaustedError: there are too many.
        """
        if self._held_bytes + size > self._max_bytes:
            raise ResourceExhaustedError("too many bodies are on their way", retry_after_s=RETRY_AFTER_S)
        self._held_bytes += size

    def release(self, size: int) -> None:
        self._held_bytes -= size

    def close(self) -> None:
        """Nothing more comes."""
        self._json_reader.shutdown(wait=False, cancel_futures=True)


class _Held:
    """The bytes that one request takes."""

    def __init__(self, endpoint: TraceEndpoint) -> None:
        self._endpoint = endpoint
        self._bytes = 0

    def add(self, size: int) -> None:
        self._endpoint.hold(size)
        self._bytes += size

    def give_back(self) -> None:
        self._endpoint.release(self._bytes)


async def _read(receive: Receive, limit: int, held: _Held) -> bytes:
    """The body as it came."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise _LeftError
                part: bytes = event.get("body", b"")
                size += len(part)
                if size > limit:
                    raise HttpError(413, _too_large(limit))
                held.add(len(part))
                parts.append(part)
                if not event.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        error = DeadlineExceededError(f"the body did not come within {_BODY_TIMEOUT_S:g} s")
        raise HttpError(408, error) from None


def _unpacked(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidArgumentError(f"the body is no gzip data: {error}") from None
    if len(plain) > limit:
        raise HttpError(413, _too_large(limit))
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidArgumentError(f"the body is no whole gzip data: got {len(body)} bytes")
    return plain


def _too_large(limit: int) -> InvalidArgumentError:
    return InvalidArgumentError(f"got a body of more than {limit} bytes, the most that is taken")


async def _respond(send: Send, status: int, message: Message, kind: str, **headers: str) -> None:
    """Answer in the encoding of the request; in protobuf if that is unknown."""
    is_json = kind == _JSON
    body = MessageToJson(message, indent=None).encode() if is_json else message.SerializeToString()
    fields = {"content-type": _JSON if is_json else _PROTOBUF, "content-length": str(len(body)), **headers}
    head = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
