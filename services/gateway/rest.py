"""The REST API: Open Inference Protocol v2 with Triton's extensions, as an ASGI application."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from services.common.boundary import RETRY_AFTER, internal_message, retry_after_s
from services.common.errors import PenstockError
from services.common.status import http_status_of
from services.gateway.callers import TENANT, tenant
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.tickets import Arrival, Outcome, Surface, Ticket
from services.gateway.domain.versions import ServedVersion
from services.gateway.inference import Desk
from services.gateway.models import Models
from services.gateway.rest_compression import compressed, decompressed, encoding_for, too_large
from services.gateway.rest_generate import Generation, begin, read_generate
from services.gateway.rest_request import OutputForm, read_request
from services.gateway.rest_response import write_response
from services.gateway.spans import RequestSpans

HEADER_LENGTH = "Inference-Header-Content-Length"


class HttpInfer:
    """One REST inference, as spans name it."""

    operation = "POST /v2/models/{model}/infer"
    no_streams = "HTTP end point doesn't support models with decoupled transaction policy"

    def __init__(self, path: str) -> None:
        self._path = path

    def attributes(self, error: PenstockError | None) -> dict[str, str | int]:
        return {
            "http.request.method": "POST",
            "url.path": self._path,
            "http.response.status_code": 200 if error is None else http_status_of(error),
        }


Read = Callable[[bytes, Mapping[str, str], ServedVersion], tuple[Any, OutputForm]]
"""Makes a ModelInferRequest of a body and its headers."""


class RestApi:
    """The handlers; they translate and delegate."""

    def __init__(
        self, *, desk: Desk, models: Models, spans: RequestSpans, pending_bytes: PendingBytes, max_request_bytes: int
    ) -> None:
        self._desk = desk
        self._models = models
        self._spans = spans
        self._pending_bytes = pending_bytes
        self._max_request_bytes = max_request_bytes

    def application(self, *, more: Sequence[Route] = (), cors_origins: Sequence[str] = ()) -> Starlette:
        """The API and ``more``; pages of ``cors_origins`` ("*": all) may call it from browsers."""
        allow_pages = Middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[HEADER_LENGTH, RETRY_AFTER],
        )
        return Starlette(
            middleware=[allow_pages] if cors_origins else [],
            routes=[
                *more,
                *self._model_routes("POST", "/infer", self.infer),
                *self._model_routes("POST", "/generate_stream", self.generate_stream),
                Route("/v2", self.describe_server),
                Route("/v2/health/live", self.live),
                Route("/v2/health/ready", self.ready),
                Route("/v2/models/stats", self.statistics),
                *self._model_routes("GET", "", self.describe),
                *self._model_routes("GET", "/ready", self.model_ready),
                *self._model_routes("GET", "/config", self.configuration),
                *self._model_routes("GET", "/stats", self.statistics),
                Route("/v2/repository/index", self.index, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _answer_http_error},
        )

    @staticmethod
    def _model_routes(method: str, tail: str, handler: Callable[[Request], Awaitable[Response]]) -> list[Route]:
        paths = ("/v2/models/{model}" + tail, "/v2/models/{model}/versions/{version}" + tail)
        return [Route(path, _guarded(handler), methods=[method]) for path in paths]

    async def infer(self, request: Request) -> Response:
        answered: asyncio.Future[bytes | memoryview] = asyncio.get_running_loop().create_future()
        ticket, form = await self._admit(request, HttpInfer(request.scope["path"]), _read_infer, answered)
        # Uvicorn does not cancel a handler whose client left.
        leaving = asyncio.ensure_future(request.receive())
        leaving.add_done_callback(functools.partial(self._leave, ticket))
        try:
            response = await answered
        except asyncio.CancelledError:
            self._desk.withdraw(ticket)
            raise
        finally:
            leaving.cancel()
            del answered, ticket, leaving  # an error's traceback holds this frame, and they hold the error
        content, json_size = write_response(response, form)
        return _encoded(content, json_size, request.headers.get("accept-encoding", ""))

    async def generate_stream(self, request: Request) -> Response:
        generation = Generation(request.scope["path"], self._pending_bytes)
        ticket, _ = await self._admit(request, generation, _read_generate, generation)

        def leave() -> None:
            generation.drop()
            self._desk.withdraw(ticket)

        return await begin(generation, request.receive, leave)

    def _leave(self, ticket: Ticket, _left: asyncio.Future[Any]) -> None:
        self._desk.withdraw(ticket)

    async def _admit(
        self, request: Request, surface: Surface, read: Read, outcome: Outcome
    ) -> tuple[Ticket, OutputForm]:
        headers = request.headers
        arrival = self._spans.arrive(
            surface, traceparent=headers.get("traceparent", ""), tracestate=headers.get("tracestate", "")
        )
        message, form = await self._read(request, arrival, read)
        ticket = self._desk.admit(
            message.SerializeToString(),
            lambda _: message,
            arrival,
            caller=caller_of(request),
            time_left_s=None,
            outcome=outcome,
            headers=headers.items,
        )
        return ticket, form

    async def _read(self, request: Request, arrival: Arrival, read: Read) -> tuple[Any, OutputForm]:
        """The request as a ModelInferRequest; one that can't be read is refused and counted as any other."""
        model, version = _names(request)
        headers, routes = request.headers, self._desk.routes
        try:
            body = await self._body(request)
            served = routes.resolve(model, version).version
            body = decompressed(body, headers.get("content-encoding", ""), self._max_request_bytes)
            message, form = read(body, headers, served)
        except PenstockError as error:
            self._desk.refuse(arrival, error, routes.find(model, version), model=model, version=version)
            raise
        message.model_name, message.model_version = model, version
        return message, form

    async def _body(self, request: Request) -> bytes:
        chunks, size = [], 0
        pending = self._pending_bytes
        try:
            async for chunk in request.stream():
                pending.check(len(chunk), mine=size)
                pending.held += len(chunk)
                size += len(chunk)
                if size > self._max_request_bytes:
                    raise too_large(self._max_request_bytes)
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            pending.held -= size

    async def live(self, _request: Request) -> Response:
        return Response()

    async def ready(self, _request: Request) -> Response:
        return Response(status_code=200 if self._models.is_ready else 400)

    async def model_ready(self, request: Request) -> Response:
        return Response(status_code=200 if self._models.is_model_ready(*_names(request)) else 400)

    async def describe_server(self, _request: Request) -> Response:
        return _json(self._models.describe_server())

    async def describe(self, request: Request) -> Response:
        return _json(self._models.describe(*_names(request)))

    async def configuration(self, request: Request) -> Response:
        return _json(self._models.configuration(*_names(request)))

    async def statistics(self, request: Request) -> Response:
        return _json(await self._models.statistics(*_names(request)))

    async def index(self, request: Request) -> Response:
        body = await self._body(request)
        try:
            wanted = orjson.loads(body) if body else {}
        except orjson.JSONDecodeError as error:
            return _error(400, f"the request is no JSON: {error}")
        return _json(self._models.index(ready=isinstance(wanted, dict) and wanted.get("ready") is True))


def _read_infer(body: bytes, headers: Mapping[str, str], served: ServedVersion) -> tuple[Any, OutputForm]:
    return read_request(body, headers.get(HEADER_LENGTH), served)


def _read_generate(body: bytes, _headers: Mapping[str, str], served: ServedVersion) -> tuple[Any, OutputForm]:
    return read_generate(body, served), OutputForm()


def _guarded(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The boundary of the REST API: errors become statuses with ``{"error": …}``."""

    async def call(request: Request) -> Response:
        try:
            return await handler(request)
        except PenstockError as error:
            seconds = retry_after_s(error)
            return _error(http_status_of(error), error.message, {} if seconds is None else {RETRY_AFTER: str(seconds)})
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # noqa: BLE001 - the boundary is where everything ends
            return _error(500, internal_message(error))

    return call


async def _answer_http_error(_request: Request, error: Any) -> Response:
    return _error(error.status_code, error.detail)


def _names(request: Request) -> tuple[str, str]:
    return request.path_params.get("model", ""), request.path_params.get("version", "")


def caller_of(request: Request) -> str:
    """Who calls: as it says, or by its address."""
    return tenant(request.headers.get(TENANT, "")) or (request.client.host if request.client else "unknown")


def _json(document: Any) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps({"error": message}), status, headers, media_type="application/json")


def _encoded(content: bytes, json_size: int | None, accepted: str) -> Response:
    headers = {"content-type": "application/json"}
    if json_size is not None:
        headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(json_size)}
    if encoding := encoding_for(content, accepted):
        content = compressed(content, encoding)
        headers["content-encoding"] = encoding
    return Response(content, headers=headers)
