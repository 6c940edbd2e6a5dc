"""Triton's generate extension: a flat JSON object in, and one for each response out, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.common.boundary import internal_message
from services.common.errors import InvalidArgumentError, PenstockError
from services.common.status import http_status_of
from services.common.stream_window import UNREPORTED_BYTES, UNREPORTED_RESPONSES
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.response_stream import ResponseStream
from services.gateway.domain.versions import ServedVersion, TensorSpec
from services.gateway.rest_request import read_request
from services.gateway.rest_response import write_event


def read_generate(body: bytes, served: ServedVersion) -> Any:
    """A ModelInferRequest without model name and version: what has an input's name is that, the rest are parameters.

    A value alone is a tensor with one element; dimensions that are missing are put before those that are there.

    Raises:
        InvalidArgumentError: the body is malformed; the message says where.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the request is no JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(nested := document.pop("parameters", {}), dict):
        raise InvalidArgumentError("the request, or its 'parameters', is no object, expected one")
    request_id = document.pop("id", "")
    inputs = [_input(spec, document.pop(spec.name)) for spec in served.inputs if spec.name in document]
    said = {"id": request_id, "inputs": inputs, "parameters": {**nested, **document, "binary_data_output": False}}
    request, _ = read_request(json.dumps(said).encode(), None, served)
    return request


def _input(spec: TensorSpec, value: Any) -> dict[str, Any]:
    try:
        array = np.array(value if isinstance(value, list) else [value], dtype=object)
    except ValueError:
        raise InvalidArgumentError(f"input '{spec.name}' is ragged, expected {list(spec.shape)}") from None
    shape = (1,) * (len(spec.shape) - array.ndim) + array.shape
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": array.ravel().tolist()}


class Generation(ResponseStream):
    """A request's responses on their way to an HTTP client; also the surface that its spans tell of."""

    operation = "POST /v2/models/{model}/generate_stream"
    no_streams = ""

    def __init__(self, path: str, pending_bytes: PendingBytes) -> None:
        super().__init__(most_unreported=UNREPORTED_RESPONSES, most_unreported_bytes=UNREPORTED_BYTES)
        self._path = path
        self._pending_bytes = pending_bytes
        self._waiting: deque[bytes] = deque()
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def attributes(self, error: PenstockError | None) -> dict[str, str | int]:
        return {
            "http.request.method": "POST",
            "url.path": self._path,
            "http.response.status_code": 200 if error is None or self.received else http_status_of(error),
            "penstock.responses": self.received,
        }

    def on_response(self, response: bytes | memoryview) -> None:
        self._waiting.append(bytes(response))
        self._pending_bytes.held += len(response)
        self._news.set()

    def on_end(self, response: bytes | memoryview) -> None:
        if response:
            self.received += 1
            self.on_response(response)
        self._news.set()

    def on_error(self, error: Exception) -> None:
        self._error = error
        self._news.set()

    async def begun(self) -> None:
        """Wait for the first response, or the end.

        Raises:
            PenstockError: there is an error before it.
        """
        await self._news.wait()
        if not self._waiting and self._error is not None:
            raise self._error

    async def events(self) -> AsyncIterator[bytes]:
        """Each response, then the error that ended them."""
        while self._waiting or not self.done():
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                response = self._waiting.popleft()
                self._pending_bytes.held -= len(response)
                try:
                    event = write_event(response)
                except PenstockError as error:
                    yield _error_event(error)
                    return
                yield event
                self.note_taken(len(response))
        if self._error is not None:
            yield _error_event(self._error)

    def drop(self) -> None:
        """Forget what was not taken."""
        self.leave()
        self._pending_bytes.held -= sum(map(len, self._waiting))
        self._waiting.clear()
        self._news.set()


def _error_event(error: Exception) -> bytes:
    message = error.message if isinstance(error, PenstockError) else internal_message(error)
    return b"data: %b\n\n" % json.dumps({"error": message}).encode()


class EventStream(StreamingResponse):
    """The answer with a generation's events; ``leave`` is called when it ends, whoever ends it."""

    def __init__(self, generation: Generation, leave: Callable[[], None]) -> None:
        super().__init__(generation.events(), media_type="text/event-stream")
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def begin(generation: Generation, receive: Receive, leave: Callable[[], None]) -> EventStream:
    """The answer, once there is a response; ``leave`` is called when it ends, and if the client leaves before.

    Raises:
        PenstockError: there is an error before the first response.
    """
    leaving = asyncio.ensure_future(receive())  # uvicorn does not cancel a handler whose client left
    leaving.add_done_callback(lambda left: None if left.cancelled() else leave())
    try:
        await generation.begun()
    except BaseException:
        leave()
        raise
    finally:
        leaving.cancel()
    return EventStream(generation, leave)
