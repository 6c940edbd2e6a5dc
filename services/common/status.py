"""The one table from our errors to gRPC codes and back, and to HTTP statuses as Triton maps them."""

from __future__ import annotations

import grpc

from services.common import errors

CODES: dict[type[errors.PenstockError], grpc.StatusCode] = {
    # On the way back INTERNAL is an InternalError, the last one here.
    errors.PenstockError: grpc.StatusCode.INTERNAL,
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.OutOfRangeError: grpc.StatusCode.OUT_OF_RANGE,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.AbortedError: grpc.StatusCode.ABORTED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.CancelledByCallerError: grpc.StatusCode.CANCELLED,
    errors.DataLossError: grpc.StatusCode.DATA_LOSS,
    errors.UnimplementedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.InternalError: grpc.StatusCode.INTERNAL,
}

# Triton's mapping (server/src/http_server.cc), and 504 for a deadline; everything else is a 400.
_HTTP: dict[type[errors.PenstockError], int] = {
    errors.PenstockError: 500,
    errors.NotFoundError: 404,
    errors.InternalError: 500,
    errors.DataLossError: 500,
    errors.UnimplementedError: 501,
    errors.UnavailableError: 503,
    errors.DeadlineExceededError: 504,
}

_BY_CODE_NUMBER: dict[int, type[errors.PenstockError]] = {code.value[0]: error for error, code in CODES.items()}


def code_of(error: errors.PenstockError) -> grpc.StatusCode:
    """The gRPC code of an error; every class of the tree has one (held by a contract test)."""
    return CODES[type(error)]


def http_status_of(error: errors.PenstockError) -> int:
    return _HTTP.get(type(error), 400)


def error_from_code(code: int, message: str, *, reason: str) -> errors.PenstockError:
    """The error that a ``google.rpc.Code`` number stands for; a number without a class becomes InternalError."""
    return _BY_CODE_NUMBER.get(code, errors.InternalError)(message, reason=reason or None)
