"""The portable front for gRPC: grpc.aio."""

from __future__ import annotations

import logging

import grpc
from tritonclient.grpc import service_pb2_grpc

from services.common.boundary import translated
from services.common.serving import SERVER_OPTIONS
from services.gateway.grpc_servicer import SERVICE, InferenceServicer


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether grpc's own log record says more than that a caller left before its status could be sent."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


def build_server(servicer: InferenceServicer, *, max_request_bytes: int) -> grpc.aio.Server:
    """A server of the inference API, without a port yet."""
    options = dict(SERVER_OPTIONS) | {"grpc.max_receive_message_length": max_request_bytes}
    server = grpc.aio.server(options=list(options.items()))
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_a_line)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(translated(servicer), server)
    # Registered last, this handler wins over the generated one: no deserialiser and no serialiser, bytes in, bytes out.
    infer: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(servicer.ModelInfer)
    server.add_registered_method_handlers(SERVICE, {"ModelInfer": infer})
    return server
