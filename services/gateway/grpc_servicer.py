"""``inference.GRPCInferenceService``: translates and delegates."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, runtime_checkable

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from services.common.boundary import translated
from services.common.errors import InvalidArgumentError, PenstockError, UnimplementedError
from services.common.status import code_of
from services.gateway.callers import TENANT, peer_of, tenant
from services.gateway.domain.pending_bytes import PendingBytes
from services.gateway.domain.tickets import Arrival, Outcome
from services.gateway.inference import Desk
from services.gateway.models import Models
from services.gateway.spans import RequestSpans
from services.gateway.stream_call import StreamCall, shutting_down

SERVICE = "inference.GRPCInferenceService"


class GrpcInfer:
    """ModelInfer, as spans name it."""

    operation = f"{SERVICE}/ModelInfer"
    no_streams = "ModelInfer RPC doesn't support models with decoupled transaction policy"

    def attributes(self, error: PenstockError | None) -> dict[str, str | int]:
        return {
            "rpc.system.name": "grpc",
            "rpc.method": self.operation,
            "rpc.response.status_code": "OK" if error is None else code_of(error).name,
        }


_GRPC_INFER = GrpcInfer()


class DirectCall(Outcome, Protocol):
    """A call that is told its outcome, by a server that needs no coroutine to wait for it."""

    def invocation_metadata(self) -> Any: ...

    def time_remaining(self) -> float | None: ...


@runtime_checkable
class TakesDirectHandlers(Protocol):
    """A server that can serve a unary method without a task; ``handle`` returns what to call if the caller leaves."""

    def add_direct_handler(
        self, method: str, handle: Callable[[bytes | memoryview, Any], Callable[[], None] | None]
    ) -> None: ...


class InferenceServicer:
    """The rpcs. ``ModelInfer`` takes and gives serialised messages, so that a tensor's bytes are never built anew."""

    def __init__(self, *, desk: Desk, models: Models, spans: RequestSpans, pending_bytes: PendingBytes) -> None:
        self._desk = desk
        self._models = models
        self._spans = spans
        self._pending_bytes = pending_bytes
        self._streams: set[StreamCall] = set()
        self._is_draining = False

    async def ModelInfer(self, message: bytes, context: Any) -> bytes:
        arrival, caller = self._arrive(context)
        answered: asyncio.Future[bytes | memoryview] = asyncio.get_running_loop().create_future()
        ticket = self._desk.admit(
            message,
            _read,
            arrival,
            caller=caller,
            time_left_s=context.time_remaining(),
            outcome=answered,
            headers=context.invocation_metadata,
        )
        try:
            return bytes(await answered)
        except asyncio.CancelledError:
            self._desk.withdraw(ticket)
            raise
        finally:
            del answered, ticket  # an error's traceback holds this frame, and they hold the error

    def infer(self, message: bytes | memoryview, call: DirectCall) -> Callable[[], None] | None:
        """ModelInfer for :class:`TakesDirectHandlers`; returns what is to be called if the caller leaves."""
        try:
            arrival, caller = self._arrive(call)
            ticket = self._desk.admit(
                message,
                _read,
                arrival,
                caller=caller,
                time_left_s=call.time_remaining(),
                outcome=call,
                headers=call.invocation_metadata,
            )
        except Exception as error:  # noqa: BLE001 - the boundary is where everything ends
            call.set_exception(error)
            return None
        return functools.partial(self._desk.withdraw, ticket)

    def _arrive(self, context: Any) -> tuple[Arrival, str]:
        """Note a request, and who calls."""
        traceparent = tracestate = caller = ""
        for key, value in context.invocation_metadata():
            if key == "traceparent":
                traceparent = value
            elif key == "tracestate":
                tracestate = value
            elif key == TENANT:
                caller = tenant(value)
        arrival = self._spans.arrive(_GRPC_INFER, traceparent=traceparent, tracestate=tracestate)
        return arrival, caller or peer_of(context)

    async def ModelStreamInfer(self, messages: AsyncIterator[bytes], context: Any) -> None:
        if self._is_draining:
            raise shutting_down()
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        traceparent, tracestate = metadata.get("traceparent", ""), metadata.get("tracestate", "")
        call = StreamCall(
            context,
            desk=self._desk,
            parse=_read,
            arrive=lambda one: self._spans.arrive(one, traceparent=traceparent, tracestate=tracestate),
            caller=tenant(metadata.get(TENANT, "")) or peer_of(context),
            headers=metadata.items,
            is_strict=metadata.get("triton_grpc_error") == "true",
            pending_bytes=self._pending_bytes,
        )
        self._streams.add(call)
        try:
            await call.run(messages)
        finally:
            self._streams.remove(call)

    def drain(self) -> None:
        """Let streams end, which their callers may hold open without a request."""
        self._is_draining = True
        for call in self._streams:
            call.drain()

    async def ServerLive(self, _request: Any, _context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _request: Any, _context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._models.is_ready)

    async def ModelReady(self, request: Any, _context: Any) -> Any:
        return pb.ModelReadyResponse(ready=self._models.is_model_ready(request.name, request.version))

    async def ServerMetadata(self, _request: Any, _context: Any) -> Any:
        return pb.ServerMetadataResponse(**self._models.describe_server())

    async def ModelMetadata(self, request: Any, _context: Any) -> Any:
        return pb.ModelMetadataResponse(**self._models.describe(request.name, request.version))

    async def ModelConfig(self, request: Any, _context: Any) -> Any:
        description = self._models.configuration(request.name, request.version)
        return ParseDict({"config": description}, pb.ModelConfigResponse())

    async def ModelStatistics(self, request: Any, _context: Any) -> Any:
        return ParseDict(await self._models.statistics(request.name, request.version), pb.ModelStatisticsResponse())

    async def RepositoryIndex(self, request: Any, _context: Any) -> Any:
        return pb.RepositoryIndexResponse(models=self._models.index(ready=request.ready))


def _read(message: bytes | memoryview) -> Any:
    try:
        return pb.ModelInferRequest.FromString(message)
    except DecodeError:
        raise InvalidArgumentError(f"got {len(message)} bytes that are no inference.ModelInferRequest") from None


def _unsupported(name: str) -> Callable[[InferenceServicer, Any, Any], Coroutine[Any, Any, Any]]:
    async def refuse(_self: InferenceServicer, _request: Any, _context: Any) -> Any:
        raise UnimplementedError(f"{name} is not supported by this server")

    return refuse


for _name in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name:
    if not hasattr(InferenceServicer, _name):
        setattr(InferenceServicer, _name, _unsupported(_name))


def add_to_server(servicer: InferenceServicer, server: grpc.aio.Server) -> None:
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(translated(servicer), server)
    # Registered last, this handler wins over the generated one: no deserialiser and no serialiser, bytes in, bytes out.
    infer: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(servicer.ModelInfer)
    stream: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(servicer.ModelStreamInfer)
    server.add_registered_method_handlers(SERVICE, {"ModelInfer": infer, "ModelStreamInfer": stream})
    if isinstance(server, TakesDirectHandlers):
        server.add_direct_handler(f"/{SERVICE}/ModelInfer", servicer.infer)
